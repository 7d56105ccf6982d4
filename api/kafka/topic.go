package kafka

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// changesSuffix ends the name of the topic that carries whole changes.
const changesSuffix = ".changes"

// topicID is what the protocol calls a topic's UUID.
type topicID = [16]byte

// topic is a table as consumers see it. Immutable.
type topic struct {
	name    string // as listed: namespace.table or namespace.table.changes
	id      topicID
	table   *materializer.Table
	changes bool // whole changes, not new rows
	rows    *rowShape
}

// has reports whether the topic has a partition of that number.
func (t *topic) has(partition int32) bool {
	return partition >= 0 && int(partition) < t.table.Partitions
}

// partition is the log's name for the topic's partition.
func (t *topic) partition(number int32) log.Partition {
	return log.Partition{Table: t.table.ID, ID: log.PartitionID(number)}
}

// topics are all topics of one catalog version. Immutable.
type topics struct {
	version uint64
	listed  []*topic // by name
	byName  map[string]*topic
	byID    map[topicID]*topic
}

// topicCache keeps the topics of the newest catalog. Safe for concurrent use.
type topicCache struct{ newest atomic.Pointer[topics] }

// topics returns the topics of the newest catalog.
func (s *Server) currentTopics() *topics {
	catalog := s.o.Materializer.Catalog()
	if t := s.topics.newest.Load(); t != nil && t.version == catalog.Version() {
		return t
	}
	t := newTopics(catalog, s.o.ClusterID)
	s.topics.newest.Store(t)
	return t
}

func newTopics(catalog *materializer.Catalog, clusterID string) *topics {
	t := &topics{
		version: catalog.Version(), byName: make(map[string]*topic), byID: make(map[topicID]*topic),
	}
	tables := slices.Clone(catalog.Tables())
	// Names of tables may contain dots. Where two topics would share a name the older table has it, and rows go before changes.
	slices.SortFunc(tables, func(a, b *materializer.Table) int { return cmp.Compare(a.ID, b.ID) })
	tables = slices.DeleteFunc(tables, func(m *materializer.Table) bool { return m.Namespace == materializer.SystemNamespace })
	shapes := make(map[log.TableID]*rowShape, len(tables))
	for _, m := range tables {
		shapes[m.ID] = newRowShape(m)
		t.add(&topic{name: m.QualifiedName(), id: newTopicID(clusterID, m.ID, false), table: m, rows: shapes[m.ID]})
	}
	for _, m := range tables {
		t.add(&topic{
			name: m.QualifiedName() + changesSuffix, id: newTopicID(clusterID, m.ID, true),
			table: m, changes: true, rows: shapes[m.ID],
		})
	}
	slices.SortFunc(t.listed, func(a, b *topic) int { return strings.Compare(a.name, b.name) })
	return t
}

func (t *topics) add(n *topic) {
	if _, taken := t.byName[n.name]; taken {
		return
	}
	t.byName[n.name] = n
	t.byID[n.id] = n
	t.listed = append(t.listed, n)
}

// topic finds a topic by its name. A name without a dot lives in the default namespace. nil if there is none.
func (t *topics) topic(name string) *topic {
	if found := t.byName[name]; found != nil || strings.Contains(name, ".") {
		return found
	}
	return t.byName[materializer.DefaultNamespace+"."+name]
}

// canonical is the one name under which a group's progress in the topic is kept.
func (t *topics) canonical(name string) string {
	if found := t.topic(name); found != nil {
		return found.name
	}
	return name
}

// newTopicID derives a UUID (version 8) that is the same at every node and start and differs between clusters. Table ids are never reused, so a
// topic made anew under an old name has a new one.
func newTopicID(clusterID string, table log.TableID, changes bool) topicID {
	seed := binary.BigEndian.AppendUint32([]byte("kalam topic\x00"+clusterID+"\x00"), uint32(table))
	if changes {
		seed = append(seed, changesSuffix...)
	}
	sum := sha256.Sum256(seed)
	id := topicID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// maxTopicName is the protocol's limit in bytes.
const maxTopicName = 249

// validTopicName reports whether name could be that of a topic. Kalam's names have more letters than Kafka's, so only length and control
// characters matter.
func validTopicName(name string) bool {
	return name != "" && len(name) <= maxTopicName &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
}
