package main

import (
	"strings"
	"testing"
	"time"

	"kalamlog.dev/kalam/internal/config"
)

func TestClockOffset(t *testing.T) {
	for text, off := range map[string]time.Duration{"": 0, "-1h": -time.Hour, "90m": 90 * time.Minute} {
		c, err := clockOf(text)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Until(c.Now()) - off; d.Abs() > time.Minute {
			t.Errorf("%q: the clock is off by %v more", text, d)
		}
	}
	if _, err := clockOf("an hour"); err == nil || !strings.Contains(err.Error(), config.EnvClockOffset) {
		t.Errorf("no duration: %v", err)
	}
	if _, err := config.Load(config.Sources{Env: []string{config.EnvClockOffset + "=1h"}}); err != nil {
		t.Errorf("the variable is taken for a setting: %v", err)
	}
}
