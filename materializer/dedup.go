package materializer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
)

// dedup bounds the memory of idempotency keys. The memory itself lies in the state, written at apply, so every replica has the same one and it survives
// restarts. Replies are numbered; those from head to next-1 are remembered. Of the apply goroutine.
type dedup struct {
	limit      uint64 // replies
	age        int64  // microseconds
	head, next uint64
	headTime   int64 // of the oldest reply, valid if headKnown
	headKnown  bool
}

// reply is what is remembered of a batch with an idempotency key.
type reply struct {
	number      uint64
	group       log.GroupID
	index       log.Index
	timestamp   int64
	fingerprint uint64
	applied     []byte // appendApplied
}

func appendReply(dst []byte, r reply) []byte {
	dst = binary.AppendUvarint(dst, r.number)
	dst = binary.AppendUvarint(dst, uint64(r.group))
	dst = binary.AppendUvarint(dst, uint64(r.index))
	dst = binary.AppendVarint(dst, r.timestamp)
	dst = binary.LittleEndian.AppendUint64(dst, r.fingerprint)
	return append(dst, r.applied...)
}

func decodeReply(raw []byte) (reply, error) {
	d := decoder{src: raw}
	r := reply{number: d.uvarint(), group: log.GroupID(d.uvarint()), index: log.Index(d.uvarint()), timestamp: d.varint(), fingerprint: d.fixed64()}
	r.applied = d.src
	if d.bad {
		return reply{}, fmt.Errorf("remembered reply: %w", ErrDamaged)
	}
	return r, nil
}

func replyKey(idempotencyKey []byte) []byte {
	return append([]byte{metaReply}, idempotencyKey...)
}

func replyOrderKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{metaReplyOrder}, number)
}

// open reads the bounds that the last commit left.
func (d *dedup) open(r storage.Reader) error {
	d.head, d.next, d.headKnown = 0, 0, false
	raw, err := r.Value(metaPartition, []byte{metaReplies})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read bounds of idempotency memory: %w", err)
	}
	w := decoder{src: raw}
	d.head, d.next = w.uvarint(), w.uvarint()
	if w.bad || d.head > d.next {
		return fmt.Errorf("bounds of idempotency memory: %w", ErrDamaged)
	}
	return nil
}

// remembered looks up the reply to an idempotency key at time now. A reply that is too old counts as forgotten, whether it still lies there or not.
func (s *step) remembered(key []byte, now int64) (reply, bool, error) {
	raw, err := s.read(s.meta, replyKey(key))
	if err != nil || raw == nil {
		return reply{}, false, err
	}
	r, err := decodeReply(raw)
	if err != nil {
		return reply{}, false, err
	}
	return r, now-r.timestamp <= s.m.dedup.age, nil
}

// remember keeps the reply to an idempotency key and forgets what is beyond the bounds.
func (s *step) remember(key []byte, r reply) error {
	d := s.m.dedup
	r.number = d.next
	order := appendBytes(binary.AppendVarint(nil, r.timestamp), key)
	s.write(s.meta, replyOrderKey(d.next), order)
	s.write(s.meta, replyKey(key), appendReply(nil, r))
	d.next++
	if err := s.forget(r.timestamp); err != nil {
		return err
	}
	s.write(s.meta, []byte{metaReplies}, binary.AppendUvarint(binary.AppendUvarint(nil, d.head), d.next))
	return nil
}

// maxForgotten bounds the work of one batch; as each adds one reply and may take away several, the memory still shrinks to its bounds.
const maxForgotten = 8

// forget removes the oldest replies while there are too many, or they are too old at time now.
func (s *step) forget(now int64) error {
	d := s.m.dedup
	for range maxForgotten {
		over := d.next-d.head > d.limit
		if d.head == d.next || !over && d.headKnown && now-d.headTime <= d.age {
			return nil
		}
		raw, err := s.read(s.meta, replyOrderKey(d.head))
		if err != nil {
			return err
		}
		w := decoder{src: raw}
		d.headTime, d.headKnown = w.varint(), true
		key := w.bytes()
		if w.bad {
			return fmt.Errorf("order of remembered replies: %w", ErrDamaged)
		}
		if !over && now-d.headTime <= d.age {
			return nil
		}
		if err := s.forgetReply(key); err != nil {
			return err
		}
	}
	return nil
}

// forgetReply removes the oldest reply, which key once had. The key may have been used again since.
func (s *step) forgetReply(key []byte) error {
	d := s.m.dedup
	raw, err := s.read(s.meta, replyKey(key))
	if err != nil {
		return err
	}
	if raw != nil {
		r, err := decodeReply(raw)
		if err != nil {
			return err
		}
		if r.number == d.head {
			s.remove(s.meta, replyKey(key))
		}
	}
	s.remove(s.meta, replyOrderKey(d.head))
	d.head++
	d.headKnown = false
	return nil
}
