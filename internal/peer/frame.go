package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"
)

// A connection that carries Raft starts with a greeting and goes on with frames. Integers are little-endian.
//
//	greeting: | "kalam-raft/1\n" | cluster: length u8, bytes | from: length u8, bytes | to: length u8, bytes |
//	answer:   | 0 accepted, else the length u8 of a reason, bytes |
//	frame:    | kind u8: 1 messages, 2 snapshot chunk | length u32 | crc32c of kind and payload u32 | payload |
const preface = "kalam-raft/1\n"

const (
	kindMessages = 1
	kindChunk    = 2

	frameHead = 9
	maxFrame  = 512 << 20 // more is no frame of ours: dragonboat sends at most 64 MiB and one entry
	piece     = 1 << 20   // what has to move within stall, either way

	greetTimeout = 5 * time.Second
	stall        = 5 * time.Second
)

var (
	errFrame   = errors.New("peer: malformed frame")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func frameSum(kind byte, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte{kind}, castagnoli), castagnoli, payload)
}

// writeFrame sends a frame whose payload begins at frameHead of buf.
func writeFrame(c net.Conn, kind byte, buf []byte) error {
	payload := buf[frameHead:]
	if len(payload) > maxFrame {
		return fmt.Errorf("%w: %d bytes are too many", errFrame, len(payload))
	}
	buf[0] = kind
	binary.LittleEndian.PutUint32(buf[1:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(buf[5:], frameSum(kind, payload))
	for len(buf) > 0 {
		n := min(len(buf), piece)
		if err := c.SetWriteDeadline(time.Now().Add(stall)); err != nil {
			return err
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
		buf = buf[n:]
	}
	return nil
}

// readFrame waits for a frame. Its payload lies in buf if that is large enough.
func readFrame(c net.Conn, r io.Reader, buf []byte) (kind byte, payload []byte, err error) {
	var head [frameHead]byte
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return 0, nil, err
	}
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := int(binary.LittleEndian.Uint32(head[1:]))
	if size > maxFrame {
		return 0, nil, fmt.Errorf("%w: it claims %d bytes", errFrame, size)
	}
	if payload, err = readPayload(c, r, buf, size); err != nil {
		return 0, nil, err
	}
	if frameSum(head[0], payload) != binary.LittleEndian.Uint32(head[5:]) {
		return 0, nil, fmt.Errorf("%w: wrong checksum", errFrame)
	}
	return head[0], payload, nil
}

// readPayload does not believe size before the bytes have come.
func readPayload(c net.Conn, r io.Reader, buf []byte, size int) ([]byte, error) {
	payload := buf[:0]
	for len(payload) < size {
		at, n := len(payload), min(size-len(payload), piece)
		if cap(payload)-at < n {
			payload = append(payload, make([]byte, n)...)
		}
		payload = payload[:at+n]
		if err := c.SetReadDeadline(time.Now().Add(stall)); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(r, payload[at:]); err != nil {
			return nil, err
		}
	}
	return payload, nil
}

// greeting is what a node says when it connects.
type greeting struct {
	cluster string // "" if it does not know yet
	from    string
	to      string
}

func (g greeting) send(c net.Conn) error {
	b := []byte(preface)
	for _, s := range []string{g.cluster, g.from, g.to} {
		if len(s) > 255 {
			return fmt.Errorf("peer: the name %q is too long", s)
		}
		b = append(append(b, byte(len(s))), s...)
	}
	if err := c.SetDeadline(time.Now().Add(greetTimeout)); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}

// receiveGreeting reads what comes behind the preface, preface included.
func receiveGreeting(r io.Reader) (g greeting, err error) {
	lead := make([]byte, len(preface))
	if _, err := io.ReadFull(r, lead); err != nil {
		return g, err
	}
	if string(lead) != preface {
		return g, fmt.Errorf("peer: unknown protocol %q", lead)
	}
	for _, field := range []*string{&g.cluster, &g.from, &g.to} {
		if *field, err = readShort(r); err != nil {
			return g, err
		}
	}
	return g, nil
}

// readShort reads up to 255 bytes behind their number.
func readShort(r io.Reader) (string, error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", err
	}
	b := make([]byte, n[0])
	_, err := io.ReadFull(r, b)
	return string(b), err
}
