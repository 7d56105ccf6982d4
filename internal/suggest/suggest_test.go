package suggest

import (
	"strings"
	"testing"
)

func TestClosest(t *testing.T) {
	t.Parallel()
	names := []string{"magnitude", "place", "depth", "updated_at", "id"}
	for name, want := range map[string]string{
		"magnitud":               "magnitude",
		"Magnitude":              "magnitude",
		"plaec":                  "place",
		"dpeth":                  "depth",
		"updatedat":              "updated_at",
		"ix":                     "id",
		"colour":                 "",
		"":                       "",
		strings.Repeat("a", 500): "",
	} {
		if got := Closest(name, names); got != want {
			t.Errorf("Closest(%q) = %q, want %q", name, got, want)
		}
	}
}
