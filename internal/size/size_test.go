package size_test

import (
	"testing"

	"kalamlog.dev/kalam/internal/size"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]size.Bytes{
		"0": 0, "1048576": 1 << 20, "64MiB": 64 << 20, "1 gib": 1 << 30, "5KB": 5000, "2GB": 2e9, "7B": 7,
	} {
		got, err := size.Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v, want %d", text, got, err, want)
		}
		if again, err := size.Parse(got.String()); err != nil || again != got {
			t.Errorf("%s does not read back: %v", got, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5MiB", "1XB", "9999999999999GiB", "99999999999999999999"} {
		if n, err := size.Parse(text); err == nil {
			t.Errorf("Parse(%q) = %d", text, n)
		}
	}
}
