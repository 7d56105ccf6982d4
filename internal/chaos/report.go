package chaos

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"kalamlog.dev/kalam/internal/chaos/check"
	"kalamlog.dev/kalam/internal/chaos/history"
	"kalamlog.dev/kalam/internal/chaos/load"
)

// Report is what a run has found.
type Report struct {
	Seed    uint64
	Nodes   int
	Results []Result
}

// Result is what one fault did.
type Result struct {
	Fault      string
	Ops        int
	Outcomes   map[history.Outcome]int
	Codes      map[string]int // of operations that were not ok
	Retried    map[string]int // why operations were sent again, the last time
	Changes    int            // in the logs
	Paused     time.Duration  // the longest pause of writes on a table while it lasted
	Healed     time.Duration  // until every table took a write that began after its end
	Violations []check.Violation
	Notes      []string
}

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *Result) violate(rule, format string, args ...any) {
	r.Violations = append(r.Violations, check.Violation{Check: rule, What: fmt.Sprintf(format, args...)})
}

// measure counts.
func (r *Result) measure(ops []history.Op, window check.Fault, logs map[string]history.Log) {
	r.Ops, r.Outcomes, r.Codes, r.Retried = len(ops), map[history.Outcome]int{}, map[string]int{}, map[string]int{}
	for i := range ops {
		r.Outcomes[ops[i].Outcome]++
		if ops[i].Retried != "" {
			r.Retried[ops[i].Retried]++
		}
		if ops[i].Code != "" {
			r.Codes[ops[i].Code]++
		}
	}
	for _, log := range logs {
		for _, changes := range log {
			r.Changes += len(changes)
		}
	}
	r.Paused, _ = check.LongestPause(ops, window.Began, window.Ended, load.Tables()...)
	r.Healed, _ = check.Resumed(ops, window.Ended, load.Tables()...)
}

// line is the result in a few lines, for the progress.
func (r *Result) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations: %d ok, %d failed, %d unknown; %d changes; longest pause %s, first write after the end %s; %d violations",
		r.Ops, r.Outcomes[history.OK], r.Outcomes[history.Fail], r.Outcomes[history.Info], r.Changes, duration(r.Paused), duration(r.Healed), len(r.Violations))
	b.WriteString(counts("\n   not ok:", r.Codes))
	b.WriteString(counts("\n   sent again after:", r.Retried))
	return b.String() + "\n   " + r.details()
}

// details are the notes and violations.
func (r *Result) details() string {
	lines := slices.Clone(r.Notes)
	for _, v := range r.Violations {
		lines = append(lines, "VIOLATION "+v.String())
	}
	return strings.Join(lines, "\n   ")
}

func counts(title string, of map[string]int) string {
	if len(of) == 0 {
		return ""
	}
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf(" %s %d", code, of[code]))
	}
	return title + strings.Join(parts, ",")
}

func duration(d time.Duration) string {
	return d.Round(10 * time.Millisecond).String()
}

func (r *Report) add(result Result) { r.Results = append(r.Results, result) }

// Violations returns how many there were.
func (r *Report) Violations() (n int) {
	for i := range r.Results {
		n += len(r.Results[i].Violations)
	}
	return n
}

// WriteMarkdown writes the table that docs/reliability.md holds.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Nodes: %d. Seed: %d.\n\n", r.Nodes, r.Seed)
	b.WriteString("| fault | operations | ok | failed | unknown | changes | longest pause of writes | first after its end | violations |\n")
	b.WriteString("|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for i := range r.Results {
		x := &r.Results[i]
		if x.Ops == 0 {
			fmt.Fprintf(&b, "| %s | | | | | | | | %d |\n", x.Fault, len(x.Violations))
			continue
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %s | %s | %d |\n", x.Fault, x.Ops, x.Outcomes[history.OK], x.Outcomes[history.Fail],
			x.Outcomes[history.Info], x.Changes, duration(x.Paused), duration(x.Healed), len(x.Violations))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
