// Package suggest finds the name that a user probably meant.
package suggest

import (
	"strings"
	"unicode/utf8"
)

// maxNameRunes bounds the work on hostile input: longer names get no suggestion.
const maxNameRunes = 128

// Closest returns the candidate nearest to name, or "" if none is near enough to be what the user meant: at most a
// third of the name's letters may differ. Letter case does not count as a difference.
func Closest(name string, candidates []string) string {
	n := utf8.RuneCountInString(name)
	if n > maxNameRunes {
		return ""
	}
	lower := []rune(strings.ToLower(name))
	best, bestDistance := "", max(1, n/3)+1
	for _, c := range candidates {
		if utf8.RuneCountInString(c) > maxNameRunes {
			continue
		}
		if d := distance(lower, []rune(strings.ToLower(c))); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
func distance(a, b []rune) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
