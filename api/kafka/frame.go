package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// header opens every request. The client id and, in flexible versions, tagged fields follow it.
type header struct {
	key         int16
	version     int16
	correlation int32
}

const (
	lengthBytes = 4
	headerBytes = 8
	// frameChunk is how much of a frame is allocated ahead of its bytes' arrival.
	frameChunk = 64 << 10
)

// malformedError reports a frame that does not follow the protocol. It ends the connection that sent it.
type malformedError struct{ why string }

func (e *malformedError) Error() string { return "malformed frame: " + e.why }

func malformed(format string, args ...any) error {
	return &malformedError{why: fmt.Sprintf(format, args...)}
}

// readFrame reads one request: its header and what follows. limit gives the bytes that a request with the header may take; nothing is allocated
// for a frame above it, and for one below it no more than has arrived, by and large. The error is io.EOF between frames.
func readFrame(r io.Reader, limit func(header) int) (header, []byte, error) {
	var prefix [lengthBytes + headerBytes]byte
	if _, err := io.ReadFull(r, prefix[:lengthBytes]); err != nil {
		return header{}, nil, err
	}
	size := int64(int32(binary.BigEndian.Uint32(prefix[:])))
	if err := checkLength(prefix[:lengthBytes], size, int64(limit(header{key: noKey}))); err != nil {
		return header{}, nil, err
	}
	if _, err := io.ReadFull(r, prefix[lengthBytes:]); err != nil {
		return header{}, nil, unexpectedEOF(err)
	}
	h := parseHeader(prefix[lengthBytes:])
	if most := int64(limit(h)); size > most {
		return h, nil, malformed("request of %d bytes for API key %d, which takes at most %d", size, h.key, most)
	}
	rest, err := readGrowing(r, int(size)-headerBytes)
	return h, rest, err
}

// noKey asks a limit function for the most that any request may take.
const noKey = -1

func checkLength(prefix []byte, size, most int64) error {
	if size >= headerBytes && size <= most {
		return nil
	}
	switch {
	case prefix[0] == 0x16 && prefix[1] == 0x03:
		return malformed("the client speaks TLS, this listener does not")
	case string(prefix) == "GET " || string(prefix) == "POST" || string(prefix) == "PUT " || string(prefix) == "HEAD":
		return malformed("the client speaks HTTP, this is the Kafka listener")
	}
	return malformed("length %d is not between %d and %d", size, headerBytes, most)
}

func parseHeader(b []byte) header {
	return header{
		key:         int16(binary.BigEndian.Uint16(b)),
		version:     int16(binary.BigEndian.Uint16(b[2:])),
		correlation: int32(binary.BigEndian.Uint32(b[4:])),
	}
}

// readGrowing reads n bytes into a buffer that grows as they come.
func readGrowing(r io.Reader, n int) ([]byte, error) {
	buf := make([]byte, 0, min(n, frameChunk))
	for len(buf) < n {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(n, 2*cap(buf)))
			copy(grown, buf)
			buf = grown
		}
		got, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+got]
		if err != nil {
			return nil, unexpectedEOF(err)
		}
	}
	return buf, nil
}

func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// splitClientID parts what follows a header into the client's id and the body. Flexible headers have tagged fields between them.
func splitClientID(rest []byte, flexible bool) (clientID string, body []byte, err error) {
	w := walker{src: rest}
	n := max(0, w.length(2))
	id := w.src
	w.skip(n)
	if w.bad {
		return "", nil, malformed("the client id is cut short")
	}
	if w.flexible = flexible; flexible {
		w.tags(nil)
	}
	if w.bad {
		return "", nil, malformed("the header's tagged fields are cut short")
	}
	return string(id[:n]), w.src, nil
}

// appendResponseHeader begins a response frame; the length is filled in by finishFrame.
func appendResponseHeader(dst []byte, correlation int32, flexible bool) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlation))
	if flexible {
		dst = append(dst, 0)
	}
	return dst
}

func finishFrame(frame []byte) []byte {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-lengthBytes))
	return frame
}
