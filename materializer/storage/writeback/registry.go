package writeback

import (
	"bytes"
	"encoding/binary"

	"kalamlog.dev/kalam/materializer/storage"
)

// registry is the backend's own space.
var registry = Space{}

// formatVersion is the value under formatKey.
const formatVersion = 1

// Keys of the registry, behind keyTag.
const (
	partitionTag  = 'p' // + name: ID of its space and generation in which it last changed, two uvarints
	garbageTag    = 'x' // + ID (8, big endian) of the space of a dropped partition: its name
	generationTag = 'g' // number of flushes, uvarint
	nextTag       = 'n' // ID of the next space, uvarint
	formatTag     = 'v' // formatVersion, uvarint
)

func partitionKey(p storage.PartitionName) []byte {
	return append([]byte{keyTag, partitionTag}, p...)
}

func garbageKey(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyTag, garbageTag}, id)
}

func appendPartition(id, generation uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, id), generation)
}

// load reads the registry. An empty base is a new store.
func (b *Backend) load() error {
	b.fresh[registry.ID] = registry
	format, generations := uint64(formatVersion), map[Space]uint64{}
	from := []byte{keyTag}
	for {
		chunk, err := b.nextChunk(registry, from, maxChunk)
		if err != nil {
			return err
		}
		for _, e := range chunk.pairs {
			delete(b.fresh, registry.ID) // it has a record
			if err := b.register(e, &format, generations); err != nil {
				return err
			}
			from = append(bytes.Clone(e.Key), 0)
		}
		if chunk.last {
			break
		}
	}
	if format != formatVersion {
		return damage(registry, "format %d is unknown", format)
	}
	if b.generation > 0 {
		generations[registry] = b.generation
	}
	return b.checkHeads(generations)
}

// checkHeads compares the generation of each space with what the registry says: a base may lead to an older state of a space that is whole in itself.
func (b *Backend) checkHeads(generations map[Space]uint64) error {
	return b.base.Read(func(r Reader) error {
		for s, want := range generations {
			_, got, err := readHead(r, s)
			if err != nil {
				return err
			}
			if got != want {
				return damage(s, "it is that of generation %d, not %d", got, want)
			}
		}
		return nil
	})
}

func (b *Backend) register(e Pair, format *uint64, generations map[Space]uint64) error {
	name, rest := storage.PartitionName(e.Key[2:]), e.Key[2:]
	if e.Key[1] == garbageTag {
		if len(rest) != 8 {
			return damage(registry, "key %x has no meaning", e.Key)
		}
		b.garbage = append(b.garbage, garbage{space: Space{ID: binary.BigEndian.Uint64(rest), Name: storage.PartitionName(e.Value)}})
		return nil
	}
	n, size := binary.Uvarint(e.Value)
	if e.Key[1] == partitionTag && size > 0 {
		generation, more := binary.Uvarint(e.Value[size:])
		b.partitions[name], generations[Space{ID: n, Name: name}] = n, generation
		size += more
	}
	if size != len(e.Value) {
		return damage(registry, "the value of key %x has no meaning", e.Key)
	}
	switch e.Key[1] {
	case partitionTag:
	case generationTag:
		b.generation = n
	case nextTag:
		b.nextSpace = n
	case formatTag:
		*format = n
	default:
		return damage(registry, "key %x has no meaning", e.Key)
	}
	return nil
}

// registryCells are those that every flush writes.
func (b *Backend) registryCells(l *layer) {
	set := func(tag byte, n uint64) {
		l.set(cell{key: []byte{keyTag, tag}, value: binary.AppendUvarint(nil, n)})
	}
	set(generationTag, b.generation+1)
	set(nextTag, b.nextSpace)
	set(formatTag, formatVersion)
}
