package check

import (
	"cmp"
	"maps"
	"slices"

	"kalamlog.dev/kalam/internal/chaos/history"
)

// Groups checks that what a consumer group has committed never goes back: a commit that was acknowledged, and an offset that
// was fetched, is seen by every fetch that begins later. Key names the group; only one consumer of it commits, ascending offsets.
func Groups(ops []history.Op) []Violation {
	type of struct {
		group     string
		partition int32
	}
	byGroup := map[of][]*history.Op{}
	for i := range ops {
		op := &ops[i]
		if (op.Kind == history.Commit || op.Kind == history.Fetched) && op.Outcome == history.OK {
			k := of{op.Key, op.Partition}
			byGroup[k] = append(byGroup[k], op)
		}
	}
	var f findings
	keys := slices.SortedFunc(maps.Keys(byGroup), func(a, b of) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.partition, b.partition))
	})
	for _, k := range keys {
		list := byGroup[k]
		ends := slices.SortedFunc(slices.Values(list), func(a, b *history.Op) int { return cmp.Compare(a.Return, b.Return) })
		begins := slices.SortedFunc(slices.Values(list), func(a, b *history.Op) int { return cmp.Compare(a.Invoke, b.Invoke) })
		known, i := int64(-1), 0
		for _, op := range begins {
			for ; i < len(ends) && ends[i].Return < op.Invoke; i++ {
				known = max(known, ends[i].Offset)
			}
			if op.Kind == history.Fetched && op.Offset < known {
				f.add("commits never go back", "%s, partition %d: fetched %d by node %d after %d was known", k.group, k.partition, op.Offset, op.Node, known)
			}
		}
	}
	return f.done()
}
