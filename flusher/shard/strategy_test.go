package shard_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"kalamlog.dev/kalam/flusher/shard"
)

func TestAlphabetic(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"": "z", "a": "a", "Apple": "a", "zebra": "z", "Z": "z", "mango": "m", "9lives": "z", "-x": "z", " b": "z",
		"éclair": "z", "\x00": "z", "@": "z", "[": "z", "`": "z", "{": "z", "\u212a": "z", "\xff": "z",
	} {
		if got := (shard.Alphabetic{}).ShardKey(key); got != want {
			t.Errorf("ShardKey(%q) = %q, want %q", key, got, want)
		}
	}
	checkCount(t, shard.Alphabetic{}, 26)
}

func TestNumeric(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"": "0", "0": "0", "42": "4", "-57": "5", "-": "0", "--5": "0", "9lives": "9", "a1": "0", " 1": "0", "3.14": "3", "٣": "0",
	} {
		if got := (shard.Numeric{}).ShardKey(key); got != want {
			t.Errorf("ShardKey(%q) = %q, want %q", key, got, want)
		}
	}
	checkCount(t, shard.Numeric{}, 10)
}

// The shard of a key is stored in file names for ever: these must never change.
func TestHashIsStable(t *testing.T) {
	t.Parallel()
	h := shard.NewHash(16)
	for key, want := range map[string]string{"": "shard-0007", "a": "shard-0008", "kalam": "shard-0005", "42": "shard-0001"} {
		if got := h.ShardKey(key); got != want {
			t.Errorf("ShardKey(%q) = %q, want %q", key, got, want)
		}
	}
	checkCount(t, h, 16)
	checkCount(t, shard.NewHash(1), 1)
}

func TestHashMovesFewKeysWhenTheCountGrows(t *testing.T) {
	t.Parallel()
	const keys = 20_000
	before, after := shard.NewHash(10), shard.NewHash(12)
	moved, count := 0, map[string]int{}
	for i := range keys {
		key := fmt.Sprint("key-", i)
		b, a := before.ShardKey(key), after.ShardKey(key)
		count[a]++
		if a == b {
			continue
		}
		moved++
		if a < "shard-0010" {
			t.Fatalf("key %q moved from %s to %s, which is not new", key, b, a)
		}
	}
	if want := keys / 6; moved < want*9/10 || moved > want*11/10 {
		t.Errorf("%d of %d keys moved, want about %d", moved, keys, want)
	}
	for name, n := range count {
		if want := keys / 12; n < want*8/10 || n > want*12/10 {
			t.Errorf("%s has %d keys, want about %d", name, n, want)
		}
	}
}

func checkCount(t *testing.T, s shard.Strategy, want int) {
	t.Helper()
	names := map[string]bool{}
	for i := range 50_000 {
		for _, key := range []string{strconv.Itoa(i), fmt.Sprintf("%c%d", rune('a'+i%26), i)} {
			name := s.ShardKey(key)
			if err := shard.CheckKey(name); err != nil {
				t.Fatal(err)
			}
			names[name] = true
		}
	}
	if len(names) != want || s.ShardCount() != want {
		t.Errorf("%T gave %d names and counts %d shards, want %d", s, len(names), s.ShardCount(), want)
	}
}

func TestCheckKey(t *testing.T) {
	t.Parallel()
	for key, ok := range map[string]bool{
		"a": true, "shard-0001": true, "A_b.c-9": true, "": false, ".hidden": false, "..": false, "a/b": false, "a b": false,
		"ü": false, "a\x00": false, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false,
	} {
		if err := shard.CheckKey(key); (err == nil) != ok {
			t.Errorf("CheckKey(%q) = %v", key, err)
		}
	}
}
