package pebble

import "kalamlog.dev/kalam/materializer/storage"

// A stored key is the partition's name, a zero byte and the key; names hold no zero byte, so no partition's keys lie among another's. Keys that
// begin with a zero byte are the backend's own.
const (
	registryPrefix = 0x00
	registryTag    = 'p' // one key per partition
	generationTag  = 'g' // counts Syncs
)

func registryKey(p storage.PartitionName) []byte {
	return append([]byte{registryPrefix, registryTag}, p...)
}

func generationKey() []byte { return []byte{registryPrefix, generationTag} }

func appendKey(dst []byte, p storage.PartitionName, key []byte) []byte {
	dst = append(dst, p...)
	dst = append(dst, 0)
	return append(dst, key...)
}

// bounds returns the stored keys between which r lies in p.
func bounds(p storage.PartitionName, r storage.Range) (lower, upper []byte) {
	lower = appendKey(nil, p, r.Start)
	if r.End != nil {
		return lower, appendKey(nil, p, r.End)
	}
	return lower, append([]byte(p), 1)
}
