package bbolt

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(damagedDirEnv); dir != "" {
		tryDamage(dir, os.Stdout)
		return
	}
	goleak.VerifyTestMain(m)
}
