package materializer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer/storage"
)

// dedup is the memory of idempotency keys. It lies in the state, written at apply, so every replica has the same one and it survives restarts; how much of it
// is kept the batches say, and nothing of this node. Replies are numbered; those from head to next-1 are remembered. Of the apply goroutine.
type dedup struct {
	bounds
	headTime  int64 // of the oldest reply, valid if headKnown
	headKnown bool
}

// bounds is what the state holds about the memory as a whole.
type bounds struct {
	head, next     uint64
	dropped        int64 // time of the newest reply that was dropped
	droppedByAge   uint64
	droppedByCount uint64
}

func appendBounds(dst []byte, b bounds) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, b.head), b.next)
	dst = binary.AppendVarint(dst, b.dropped)
	return binary.AppendUvarint(binary.AppendUvarint(dst, b.droppedByAge), b.droppedByCount)
}

// decodeBounds also reads the shorter form of states whose memory does not know what it dropped.
func decodeBounds(raw []byte) (bounds, error) {
	d := decoder{src: raw}
	b := bounds{head: d.uvarint(), next: d.uvarint()}
	if len(d.src) > 0 {
		b.dropped, b.droppedByAge, b.droppedByCount = d.varint(), d.uvarint(), d.uvarint()
	}
	if d.bad || len(d.src) > 0 || b.head > b.next {
		return bounds{}, fmt.Errorf("bounds of idempotency memory: %w", ErrDamaged)
	}
	return b, nil
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

// open reads what the last commit left.
func (d *dedup) open(r storage.Reader) error {
	*d = dedup{}
	raw, err := r.Value(metaPartition, []byte{metaReplies})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read bounds of idempotency memory: %w", err)
	}
	if d.bounds, err = decodeBounds(raw); err != nil || d.head == d.next {
		return err
	}
	if raw, err = r.Value(metaPartition, replyOrderKey(d.head)); err != nil {
		return fmt.Errorf("read the oldest remembered reply: %w", err)
	}
	_, err = d.see(raw)
	return err
}

// see takes in the order record of the oldest reply and returns its key.
func (d *dedup) see(raw []byte) (key []byte, err error) {
	w := decoder{src: raw}
	d.headTime, d.headKnown = w.varint(), true
	if key = w.bytes(); w.bad {
		return nil, fmt.Errorf("order of remembered replies: %w", ErrDamaged)
	}
	return key, nil
}

func (d *dedup) remembered() Remembered {
	r := Remembered{Keys: d.next - d.head, Dropped: d.dropped, DroppedByAge: d.droppedByAge, DroppedByCount: d.droppedByCount}
	if r.Keys > 0 && d.headKnown {
		r.Oldest = d.headTime
	}
	return r
}

// remembered looks up the reply to an idempotency key at time now. A reply that is older than m counts as forgotten, whether it still lies there or not.
func (s *step) remembered(key []byte, now int64, m Memory) (reply, bool, error) {
	raw, err := s.read(s.meta, replyKey(key))
	if err != nil || raw == nil {
		return reply{}, false, err
	}
	r, err := decodeReply(raw)
	if err != nil {
		return reply{}, false, err
	}
	return r, now-r.timestamp <= m.Age.Microseconds(), nil
}

// remember keeps the reply to an idempotency key and forgets what is beyond the bounds m.
func (s *step) remember(key []byte, r reply, m Memory) error {
	d := s.m.dedup
	r.number = d.next
	order := appendBytes(binary.AppendVarint(nil, r.timestamp), key)
	s.write(s.meta, replyOrderKey(d.next), order)
	s.write(s.meta, replyKey(key), appendReply(nil, r))
	d.next++
	if err := s.forget(r.timestamp, m); err != nil {
		return err
	}
	s.write(s.meta, []byte{metaReplies}, appendBounds(nil, d.bounds))
	return nil
}

// maxForgotten bounds the work of one batch; as each adds one reply and may take away several, the memory still shrinks to its bounds.
const maxForgotten = 8

// forget removes the oldest replies while there are too many, or they are too old at time now.
func (s *step) forget(now int64, m Memory) error {
	d := s.m.dedup
	for range maxForgotten {
		if d.headKnown && now-d.headTime <= m.Age.Microseconds() && d.next-d.head <= uint64(m.Keys) {
			return nil // the usual case, without a lookup
		}
		key, err := s.oldest()
		if err != nil || key == nil {
			return err
		}
		old := now-d.headTime > m.Age.Microseconds()
		if !old && d.next-d.head <= uint64(m.Keys) {
			return nil
		}
		if old {
			d.droppedByAge++
		} else {
			d.droppedByCount++
		}
		if err := s.forgetReply(key); err != nil {
			return err
		}
	}
	_, err := s.oldest()
	return err
}

// oldest returns the key of the oldest reply and makes its time known, nil if there is none.
func (s *step) oldest() ([]byte, error) {
	d := s.m.dedup
	if d.head == d.next {
		return nil, nil
	}
	raw, err := s.read(s.meta, replyOrderKey(d.head))
	if err != nil {
		return nil, err
	}
	return d.see(raw)
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
	d.dropped = max(d.dropped, d.headTime)
	d.head++
	d.headKnown = false
	return nil
}
