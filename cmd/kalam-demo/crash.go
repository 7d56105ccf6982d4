package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// crash kills the server in the middle of things, starts it again on the same data and resumes the live query.
func (d *demo) crash(ctx context.Context) error {
	before, err := d.totals(ctx)
	if err != nil {
		return err
	}
	d.server.Kill()
	lastID := d.live.lastID
	d.live.close()
	d.say("   killed with SIGKILL; the live query had seen everything up to %s", lastID)
	began := time.Now()
	if err := d.start(ctx); err != nil {
		return err
	}
	d.say("   ready again after %v", time.Since(began).Round(time.Millisecond))
	after, err := d.totals(ctx)
	if err != nil {
		return err
	}
	if err := check(d, "earthquakes, sum of magnitudes, flights after the restart", after, before); err != nil {
		return err
	}
	const id = "demo-resumed"
	if _, err := d.server.SQL(ctx, `INSERT INTO demo.quakes (id, time, magnitude, place) VALUES ($1, now(), 6.1, 'after the restart')`, id); err != nil {
		return err
	}
	if d.live, err = d.subscribe(ctx, liveSQL, lastID); err != nil {
		return err
	}
	defer d.live.close()
	e, err := d.live.await(ctx)
	for err == nil && (e.kind == "subscribed" || e.kind == "ready") {
		e, err = d.live.await(ctx)
	}
	if err != nil {
		return err
	}
	return check(d, "the resumed live query goes on with", e.kind+" "+strconv.FormatBool(strings.Contains(string(e.Row), id)), "insert true")
}

// totals sums up both tables in one line.
func (d *demo) totals(ctx context.Context) (string, error) {
	results, err := d.server.SQL(ctx, `SELECT
		(SELECT count(*) FROM demo.quakes), (SELECT round(sum(magnitude), 3) FROM demo.quakes), (SELECT count(*) FROM demo.flights)`)
	if err != nil {
		return "", err
	}
	var cells []string
	for _, c := range results[0].Rows[0] {
		cells = append(cells, string(c))
	}
	return strings.Join(cells, ", "), nil
}

// verify stops the server cleanly and lets `kalam verify` fold the log again.
func (d *demo) verify(ctx context.Context) error {
	stopCtx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := d.server.Stop(stopCtx); err != nil {
		return err
	}
	d.server = nil
	d.say("   SIGTERM: drained and exited with 0")
	out, err := exec.CommandContext(ctx, d.binary, "verify", "--data", d.data).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kalam verify: %w\n%s", err, out)
	}
	d.checks++
	for line := range strings.Lines(string(out)) {
		d.say("   %s", strings.TrimRight(line, "\n"))
	}
	return nil
}
