package kafka

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// kcatPath finds kcat, installing it if the test may.
func kcatPath(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("kcat"); err == nil {
		return path
	}
	if os.Geteuid() != 0 {
		t.Fatal("kcat is not installed: run 'apt-get install kcat'")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "kcat"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("kcat is not installed, and apt-get %v fails: %v\n%s", args, err, out)
		}
	}
	return must(exec.LookPath("kcat"))(t)
}

// kcat runs kcat to its end and returns its output by lines, sorted.
func (k *stack) kcat(args ...string) []string {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, kcatPath(k.t.(*testing.T)), append([]string{"-b", k.addr}, args...)...)
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		k.t.Fatalf("kcat %v: %v\n%s", args, err, errors.String())
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

func TestKcatLists(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	k.sensors(3)
	out := strings.Join(k.kcat("-L"), "\n")
	for _, want := range []string{
		"1 brokers:", "broker 1 at " + k.addr + " (controller)", "2 topics:",
		`topic "iot.sensors" with 3 partitions:`, `topic "iot.sensors.changes" with 3 partitions:`,
		"partition 2, leader 1, replicas: 1, isrs: 1",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("kcat -L lacks %q:\n%s", want, out)
		}
	}
	if out = strings.Join(k.kcat("-L", "-t", "iot.nothing"), "\n"); !strings.Contains(out, "Unknown topic or partition") {
		t.Errorf("kcat -L of an unknown topic: %s", out)
	}
}

func TestKcatConsumes(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(1)
	k.put(sensors, 0, 1, 2)
	var cut time.Time
	eventually(t, "the clock to move", func() bool {
		cut = time.Now().Truncate(time.Millisecond)
		return cut.After(k.timestampOf(sensors, 2))
	})
	k.put(sensors, 3)
	k.remove(sensors, 3)
	for from, want := range map[string][]string{
		"beginning":                            {"0 0", "1 1", "2 2", "3 3", "4 3"},
		"3":                                    {"3 3", "4 3"},
		"-1":                                   {"4 3"},
		"end":                                  {""},
		fmt.Sprintf("s@%d", cut.UnixMilli()):   {"3 3", "4 3"},
		fmt.Sprintf("s@%d", cut.Unix()*1000*2): {""},
	} {
		got := k.kcat("-C", "-t", "iot.sensors", "-p", "0", "-o", from, "-e", "-q", "-f", "%o %k\n")
		if !slices.Equal(got, want) {
			t.Errorf("kcat -o %s: %q, want %q", from, got, want)
		}
	}
	got := k.kcat("-C", "-t", "iot.sensors", "-o", "beginning", "-e", "-q", "-Z", "-f", "%k=%s\n")
	want := []string{
		`0={"id":0,"name":"sensor 0","heat":0}`, `1={"id":1,"name":"sensor 1","heat":0.5}`,
		`2={"id":2,"name":"sensor 2","heat":1}`, `3=NULL`, `3={"id":3,"name":"sensor 3","heat":1.5}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("kcat -C: %q", got)
	}
}

// Two runs of one group: the second goes on where the first ended, across a restart of the server.
func TestKcatGroup(t *testing.T) {
	t.Parallel()
	k := startStack(t, nil)
	sensors := k.sensors(2)
	k.put(sensors, 0, 1, 2)
	group := []string{"-G", "readers", "iot.sensors", "-e", "-q", "-f", "%k\n", "-X", "auto.offset.reset=earliest"}
	if got := k.kcat(group...); !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("first run: %q", got)
	}
	k.restart()
	k.put(sensors, 3, 4)
	if got := k.kcat(group...); !slices.Equal(got, []string{"3", "4"}) {
		t.Errorf("second run: %q", got)
	}
}
