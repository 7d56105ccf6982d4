package expr

import "strings"

// nearest returns the name most like word, or "" if none is near.
func nearest(word string, names []string) string {
	best, limit := "", len(word)/3+1
	if limit > 3 {
		limit = 3
	}
	lower := strings.ToLower(word)
	for _, name := range names {
		if d := editDistance(lower, strings.ToLower(name), limit+1); d <= limit {
			best, limit = name, d-1
		}
	}
	return best
}

// editDistance is the Levenshtein distance in bytes, or limit if it is at least that.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return min(row[len(b)], limit)
}
