package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func limit(n int) func(header) int { return func(header) int { return n } }

// rawFrame makes a frame of a header and what follows.
func rawFrame(key, version int16, correlation int32, rest ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(headerBytes+len(rest)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	return append(b, rest...)
}

func TestReadFrame(t *testing.T) {
	payload := bytes.Repeat([]byte("kalam"), frameChunk)
	stream := append(rawFrame(3, 12, 7, payload...), rawFrame(18, 0, 8)...)
	r := iotest.HalfReader(bytes.NewReader(stream))
	h, rest, err := readFrame(r, limit(1<<20))
	if err != nil || h != (header{3, 12, 7}) || !bytes.Equal(rest, payload) {
		t.Fatalf("first frame: %+v, %d bytes, %v", h, len(rest), err)
	}
	h, rest, err = readFrame(r, limit(1<<20))
	if err != nil || h != (header{18, 0, 8}) || len(rest) != 0 {
		t.Fatalf("second frame: %+v, %d bytes, %v", h, len(rest), err)
	}
	if _, _, err = readFrame(r, limit(1<<20)); !errors.Is(err, io.EOF) {
		t.Fatalf("after the last frame: %v", err)
	}
}

func TestReadFrameRefuses(t *testing.T) {
	for name, c := range map[string]struct{ bytes, want string }{
		"oversized":       {"\x00\x10\x00\x01\x00\x01", "is not between"},
		"negative":        {"\xff\xff\xff\xff\x00\x01", "is not between"},
		"too short":       {"\x00\x00\x00\x07\x00\x01", "is not between"},
		"TLS":             {"\x16\x03\x01\x02\x00\x01", "TLS"},
		"HTTP":            {"GET / HTTP/1.1\r\n", "HTTP"},
		"cut in length":   {"\x00\x00", "EOF"},
		"cut in header":   {"\x00\x00\x00\x20\x00\x01", "EOF"},
		"cut in the rest": {string(rawFrame(1, 4, 1, 1, 2, 3)[:14]), "EOF"},
	} {
		_, _, err := readFrame(strings.NewReader(c.bytes), limit(1<<20))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A length is a claim: memory follows the bytes that come.
func TestReadFrameAllocatesWhatArrives(t *testing.T) {
	claim := append(rawFrame(1, 4, 1)[:lengthBytes+headerBytes:lengthBytes+headerBytes], 1, 2, 3)
	binary.BigEndian.PutUint32(claim, 1<<30)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err := readFrame(bytes.NewReader(claim), limit(1<<30)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16*frameChunk {
		t.Errorf("a claim of 1 GiB allocates %d bytes", n)
	}
}

func TestSplitClientID(t *testing.T) {
	id, body, err := splitClientID([]byte{0, 2, 'm', 'e', 9}, false)
	if err != nil || id != "me" || !bytes.Equal(body, []byte{9}) {
		t.Errorf("plain: %q %v %v", id, body, err)
	}
	id, body, err = splitClientID([]byte{0xff, 0xff, 1, 5, 2, 0, 0, 9}, true)
	if err != nil || id != "" || !bytes.Equal(body, []byte{9}) {
		t.Errorf("flexible, null id: %q %v %v", id, body, err)
	}
	for _, broken := range [][]byte{{}, {0}, {0, 3, 'a'}, {0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, {0, 0}} {
		if _, _, err := splitClientID(broken, true); err == nil {
			t.Errorf("%v passes", broken)
		}
	}
}

// FuzzRequest feeds bytes to all that reads a request before a handler sees it. What the layout lets pass must decode.
func FuzzRequest(f *testing.F) {
	r := bareRegistry(f)
	for i := range r.keys {
		k := &r.keys[i]
		for _, version := range []int16{k.min, k.max} {
			q := k.request()
			q.SetVersion(version)
			f.Add(rawFrame(k.code, version, 1, append([]byte{0, 0}, q.AppendTo(nil)...)...))
			f.Add(rawFrame(k.code, version, 1, append([]byte{0, 0, 0}, q.AppendTo(nil)...)...))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, rest, err := readFrame(bytes.NewReader(raw), limit(1<<16))
		if err != nil {
			return
		}
		k := r.key(h.key)
		if k == nil || !k.speaks(h.version) {
			return
		}
		_, body, err := splitClientID(rest, k.flexible(h.version))
		if err != nil {
			return
		}
		q := k.request()
		q.SetVersion(h.version)
		if !k.layout.check(body, h.version, q.IsFlexible()) {
			return
		}
		if err := q.ReadFrom(body); err != nil {
			t.Fatalf("%s version %d passes its layout and does not decode: %v", k.name, h.version, err)
		}
		response, err := k.decode(h.version, body)
		if err != nil || response.GetVersion() != h.version {
			t.Fatalf("%s version %d: %v", k.name, h.version, err)
		}
	})
}
