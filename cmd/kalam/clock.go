package main

import (
	"fmt"
	"time"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/config"
)

// clockOf returns the machine's clock, or for fault tests one that is off by as much as the text says.
func clockOf(offset string) (clock.Clock, error) {
	if offset == "" {
		return clock.System{}, nil
	}
	by, err := time.ParseDuration(offset)
	if err != nil {
		return nil, fmt.Errorf("environment: %s: %w", config.EnvClockOffset, err)
	}
	return clock.Skewed{By: by}, nil
}
