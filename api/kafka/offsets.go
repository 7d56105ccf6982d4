package kafka

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// topicPartition is what an offset is committed for.
type topicPartition struct {
	topic     string // canonical
	partition int32
}

// committed is a stored offset.
type committed struct {
	offset   int64
	epoch    int32
	metadata string
}

// groupOffset is one offset of a commit.
type groupOffset struct {
	topicPartition
	committed
}

func newGroupOffset(topic string, p *kmsg.OffsetCommitRequestTopicPartition) groupOffset {
	o := groupOffset{topicPartition{topic, p.Partition}, committed{offset: p.Offset, epoch: p.LeaderEpoch}}
	if p.Metadata != nil {
		o.metadata = *p.Metadata
	}
	return o
}

// storedOffsets are the offsets of one group.
type storedOffsets map[topicPartition]committed

func (o storedOffsets) sorted() []topicPartition {
	keys := make([]topicPartition, 0, len(o))
	for k := range o {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b topicPartition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	return keys
}

// response is the offset of a partition, -1 (which is no error) if there is none.
func (o storedOffsets) response(topic string, partition int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	r := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	r.Partition = partition
	r.Offset, r.LeaderEpoch = -1, -1
	c, found := o[topicPartition{topic, partition}]
	if found {
		r.Offset, r.LeaderEpoch = c.offset, c.epoch
	}
	r.Metadata = new(c.metadata)
	return r
}

// Places of system.consumer_groups' columns; the first three are its key.
const (
	columnGroup = iota
	columnTopic
	columnPartition
	columnOffset
	columnEpoch
	columnMetadata
	columnUpdated
	groupColumns
)

// groupKeyColumns is how many of the columns are the key.
const groupKeyColumns = 3

// offsetsPartition is where the table's rows are: it has one partition.
func offsetsPartition() log.Partition {
	return log.Partition{Table: materializer.SystemConsumerGroups}
}

// storeTimeout bounds a commit, which does not end with its connection: half-done is not a state it can be in, but unknown is.
const storeTimeout = 10 * time.Second

// storeOffsets makes the offsets durable, all or none.
func (s *Server) storeOffsets(ctx context.Context, group string, offsets []groupOffset) error {
	schema := s.groupsTable().Schema()
	now := clock.Micros(s.o.Clock)
	mutations, err := s.fence()
	if err != nil {
		return fmt.Errorf("make the condition of a commit: %w", err)
	}
	for i := range offsets {
		values := offsetRow(group, &offsets[i], now)
		key, err := materializer.EncodeKey(nil, values[:groupKeyColumns])
		if err != nil {
			return fmt.Errorf("encode key of committed offset: %w", err)
		}
		row, err := materializer.EncodeRow(nil, schema, values)
		if err != nil {
			return fmt.Errorf("encode committed offset: %w", err)
		}
		mutations = append(mutations, materializer.Mutation{
			Op: materializer.Upsert, Partition: offsetsPartition(), Schema: schema.Version,
			Key: key, Row: row, Version: materializer.AnyVersion,
		})
	}
	return s.write(ctx, mutations)
}

func (s *Server) groupsTable() *materializer.Table {
	return s.o.Materializer.Catalog().TableByID(materializer.SystemConsumerGroups)
}

func offsetRow(group string, o *groupOffset, now int64) []expr.Value {
	values := make([]expr.Value, groupColumns)
	values[columnGroup] = expr.TextOf(group)
	values[columnTopic] = expr.TextOf(o.topic)
	values[columnPartition] = expr.IntOf(expr.Integer, int64(o.partition))
	values[columnOffset] = expr.IntOf(expr.BigInt, o.offset)
	values[columnEpoch] = expr.IntOf(expr.Integer, int64(o.epoch))
	values[columnMetadata] = expr.TextOf(o.metadata)
	values[columnUpdated] = expr.IntOf(expr.TimestampTZ, now)
	return values
}

func (s *Server) write(ctx context.Context, mutations []materializer.Mutation) error {
	caller, _ := identity.FromContext(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	_, err := s.o.Writer.Write(ctx, &materializer.Batch{Caller: caller.Name, Mutations: mutations})
	return err
}

// groupOffsets reads what a group has committed. Offsets in topics that do not exist, or that were made after the commit (under the name of one
// dropped), are left out.
func (s *Server) groupOffsets(group string) (storedOffsets, error) {
	topics := s.currentTopics()
	offsets := make(storedOffsets)
	for row, err := range s.scanOffsets(group) {
		if err != nil {
			return nil, err
		}
		at := topicPartition{row.Column(columnTopic).Str(), int32(row.Column(columnPartition).Int())}
		t := topics.topic(at.topic)
		if t == nil || t.table.Created > row.Column(columnUpdated).Int() {
			continue
		}
		offsets[at] = committed{
			offset:   row.Column(columnOffset).Int(),
			epoch:    int32(row.Column(columnEpoch).Int()),
			metadata: row.Column(columnMetadata).Str(),
		}
	}
	return offsets, nil
}

// groupIDs lists the groups that have committed, in order.
func (s *Server) groupIDs() ([]string, error) {
	var ids []string
	for row, err := range s.scanOffsets("") {
		if err != nil {
			return nil, err
		}
		if id := row.Column(columnGroup).Str(); len(ids) == 0 || ids[len(ids)-1] != id {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// removeOffsets forgets a group and returns how many offsets it had.
func (s *Server) removeOffsets(ctx context.Context, group string) (int, error) {
	schema := s.groupsTable().Schema()
	mutations, err := s.fence()
	if err != nil {
		return 0, fmt.Errorf("make the condition of a removal: %w", err)
	}
	fences := len(mutations)
	for row, err := range s.scanOffsets(group) {
		if err != nil {
			return 0, err
		}
		key, err := materializer.EncodeKey(nil, row.Values()[:groupKeyColumns])
		if err != nil {
			return 0, fmt.Errorf("encode key of committed offset: %w", err)
		}
		mutations = append(mutations, materializer.Mutation{
			Op: materializer.Remove, Partition: offsetsPartition(), Schema: schema.Version,
			Key: key, Version: materializer.AnyVersion, Miss: materializer.Skip,
		})
	}
	if len(mutations) == fences {
		return 0, nil
	}
	return len(mutations) - fences, s.write(ctx, mutations)
}

// scanOffsets gives the rows of a group, or of all groups for "", in the order of group, topic and partition.
func (s *Server) scanOffsets(group string) iter.Seq2[materializer.Row, error] {
	return func(yield func(materializer.Row, error) bool) {
		r, err := offsetsRange(group)
		if err != nil {
			yield(materializer.Row{}, err)
			return
		}
		view, err := s.o.Materializer.View()
		if err != nil {
			yield(materializer.Row{}, fmt.Errorf("open view of committed offsets: %w", err))
			return
		}
		defer func() { _ = view.Close() }()
		table := view.Catalog().TableByID(materializer.SystemConsumerGroups)
		for row, err := range view.Scan(table, offsetsPartition().ID, r) {
			if err != nil {
				err = fmt.Errorf("read committed offsets: %w", err)
			}
			if !yield(row.Row, err) || err != nil {
				return
			}
		}
	}
}

// offsetsRange covers the keys that begin with the group. Encodings of a column are prefix-free, so the group's own is a prefix of no other's.
func offsetsRange(group string) (storage.Range, error) {
	if group == "" {
		return storage.Range{}, nil
	}
	prefix, err := materializer.EncodeKey(nil, []expr.Value{expr.TextOf(group)})
	if err != nil {
		return storage.Range{}, fmt.Errorf("encode group id: %w", err)
	}
	return storage.Range{Start: prefix, End: afterPrefix(prefix)}, nil
}

// afterPrefix is the least key above all that begin with prefix, nil if there is none.
func afterPrefix(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
