package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// tan's log is blocks of 32 KiB, filled with chunks that do not cross blocks:
//
//	| low half of xxhash64 of what follows length, u32 | length u16 | kind u8 | bytes |
//
// A record is one full chunk, or a first, middle ones and a last. The rest of a block too short for a chunk's head is unused.
const (
	tanBlock  = 32 << 10
	tanHead   = 7
	tanFull   = 1
	tanFirst  = 2
	tanLast   = 4
	tanSector = 512
	// tanHole is how many zero bytes up to the end of a chunk count as a hole where it ends within a sector.
	tanHole = 64
)

// dropTornTail cuts off the newest log of tan in dir a record that a power loss left with holes: parts that never reached the disk read as
// zeros. tan copes with a record that is cut short and refuses one with holes, although neither was ever synced, and so nothing in or
// behind it was acknowledged. A record that is damaged in another way, or has a record behind it, is left for tan to refuse. It
// returns how many bytes it cut off which file.
func dropTornTail(dir string) (path string, cut int64, err error) {
	path, err = newestTanLog(dir)
	if path == "" || err != nil {
		return "", 0, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return path, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return path, 0, err
	}
	start, torn, err := tornRecord(f, info.Size())
	if err != nil || !torn {
		return path, 0, err
	}
	if err := f.Truncate(start); err != nil {
		return path, 0, err
	}
	return path, info.Size() - start, f.Sync()
}

// newestTanLog returns the log that tan will read to its end: the newest, if it has no index yet. It returns "" if there is none.
func newestTanLog(dir string) (string, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "*", "*", "tandb", "node-*", "*.log"))
	if err != nil || len(logs) == 0 {
		return "", err
	}
	newest := slices.MaxFunc(logs, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	_, err = os.Stat(strings.TrimSuffix(newest, ".log") + ".index")
	if errors.Is(err, fs.ErrNotExist) {
		return newest, nil
	}
	return "", err
}

// tornRecord returns where the last record of f starts, if it has holes.
func tornRecord(f io.ReaderAt, size int64) (start int64, torn bool, err error) {
	block := make([]byte, tanBlock)
	for at := int64(0); at < size; at += tanBlock {
		b := block[:min(tanBlock, size-at)]
		if _, err := f.ReadAt(b, at); err != nil {
			return 0, false, fmt.Errorf("read: %w", err)
		}
		position := 0
		for position+tanHead <= len(b) {
			kind, end, ok := tanChunk(b, position)
			if !ok {
				if !hasHole(b, position, end) {
					return 0, false, nil
				}
				follows, err := recordFollows(f, size, at, b[min(end, len(b)):])
				return start, !follows, err
			}
			if position = end; kind == tanFull || kind == tanLast {
				start = at + int64(position)
			}
		}
	}
	return 0, false, nil
}

// tanChunk returns the kind of the chunk at position, where it ends as far as its head says, and whether it is sound.
func tanChunk(b []byte, position int) (kind byte, end int, ok bool) {
	head := b[position : position+tanHead]
	kind = head[6]
	end = position + tanHead + int(binary.LittleEndian.Uint16(head[4:]))
	if kind < tanFull || kind > tanLast || end > len(b) {
		return kind, end, false
	}
	return kind, end, uint32(xxhash.Sum64(b[position+6:end])) == binary.LittleEndian.Uint32(head)
}

// hasHole reports whether the chunk from position to end has a sector of zeros, as its first sector never is.
func hasHole(b []byte, position, end int) bool {
	end = min(end, len(b))
	for s := (position/tanSector + 1) * tanSector; s < end; s += tanSector {
		sector := b[s:min(s+tanSector, end)]
		if len(sector) >= tanHole && isZero(sector) {
			return true
		}
	}
	return false
}

func isZero(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}

// recordFollows reports whether a record starts in rest, which is the end of the block at the given place, or in a block behind it.
func recordFollows(f io.ReaderAt, size, at int64, rest []byte) (bool, error) {
	block := make([]byte, tanBlock)
	for {
		for position := 0; position+tanHead <= len(rest); {
			kind, end, ok := tanChunk(rest, position)
			if !ok {
				break
			}
			if kind == tanFull || kind == tanFirst {
				return true, nil
			}
			position = end
		}
		if at += tanBlock; at >= size {
			return false, nil
		}
		rest = block[:min(tanBlock, size-at)]
		if _, err := f.ReadAt(rest, at); err != nil {
			return false, fmt.Errorf("read: %w", err)
		}
	}
}
