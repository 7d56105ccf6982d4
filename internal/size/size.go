// Package size reads and writes numbers of bytes as people do: 64MiB, 10GB.
package size

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Bytes is a number of bytes. In text it is a whole number with an optional unit: B, KB, MB, GB (powers of 1000) or
// KiB, MiB, GiB (powers of 1024).
type Bytes int64

// units are in the order in which String prefers them.
var units = []struct {
	name  string
	bytes uint64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// Parse reads the text form of Bytes.
func Parse(s string) (Bytes, error) {
	text := strings.TrimSpace(s)
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.TrimSpace(text[len(digits):])
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is no size: want a number of bytes such as 1048576, 64MiB or 1GB", s)
	}
	if unit == "" {
		return Bytes(n), nil
	}
	for _, u := range units {
		if strings.EqualFold(unit, u.name) {
			hi, lo := bits.Mul64(n, u.bytes)
			if hi != 0 || lo>>63 != 0 {
				return 0, fmt.Errorf("size %q is too large", s)
			}
			return Bytes(lo), nil
		}
	}
	return 0, fmt.Errorf("size %q has the unknown unit %q: want B, KB, MB, GB, KiB, MiB or GiB", s, unit)
}

// String returns the shortest exact form.
func (s Bytes) String() string {
	for _, u := range units[:3] {
		if s != 0 && uint64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/int64(u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
