package faultfs

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
)

// pageSize is what a disk keeps or loses as one, in bytes.
const pageSize = 4096

// pages is what a file has that is not synced.
type pages struct {
	file   *os.File
	synced int64            // size at the last sync
	old    map[int64][]byte // by page number: the synced content of each page changed since; empty beyond synced
}

func sortedFiles(m map[fileID]*pages) []*pages {
	ids := slices.SortedFunc(maps.Keys(m), func(a, b fileID) int { return cmp.Or(cmp.Compare(a.dev, b.dev), cmp.Compare(a.ino, b.ino)) })
	files := make([]*pages, len(ids))
	for i, id := range ids {
		files[i] = m[id]
	}
	return files
}

// save keeps the content of the bytes [from, to) before they change.
func (p *pages) save(from, to int64) error {
	for n := from / pageSize; n*pageSize < to; n++ {
		if _, saved := p.old[n]; saved {
			continue
		}
		page := make([]byte, max(0, min(pageSize, p.synced-n*pageSize)))
		// The file may have been cut below its synced size since; what was cut was saved then.
		if _, err := p.file.ReadAt(page, n*pageSize); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		p.old[n] = page
	}
	return nil
}

// rollBack keeps about keep percent of the changed pages and gives the others their synced content.
func (p *pages) rollBack(keep int, rnd *rand.Rand) error {
	st, err := p.file.Stat()
	if err != nil {
		return err
	}
	now := st.Size()
	if now < p.synced { // a cut is one change of the inode: it came through or not
		if rnd.IntN(100) < keep {
			return nil
		}
		keep = 0
	}
	size := p.synced
	for _, n := range slices.Sorted(maps.Keys(p.old)) {
		if rnd.IntN(100) < keep {
			size = max(size, min(now, (n+1)*pageSize))
			continue
		}
		page := make([]byte, pageSize) // a page that was not written below a later one reads as zeros
		copy(page, p.old[n])
		if _, err := p.file.WriteAt(page, n*pageSize); err != nil {
			return err
		}
	}
	return p.file.Truncate(size)
}
