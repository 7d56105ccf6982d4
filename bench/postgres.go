package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"kalamlog.dev/kalam/internal/dataset"
)

// postgres times COPY of the flights into a keyed table of a PostgreSQL with default settings, as Debian ships it. It says so
// and measures nothing where PostgreSQL is not installed.
func (b *bench) postgres(ctx context.Context) error {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		fmt.Fprintln(b.out, "  PostgreSQL is not installed: apt-get install postgresql")
		return err
	}
	p := postgres{bin: slices.Max(found), dir: filepath.Join(b.dir, "postgres")}
	if err := p.start(ctx); err != nil {
		return err
	}
	defer p.stop()
	csv := filepath.Join(b.dir, "flights.csv")
	rows, err := b.writeCSV(csv)
	if err != nil {
		return err
	}
	if err := p.psql(ctx, `CREATE TABLE flights (origin TEXT, id BIGINT, date TIMESTAMP, delay BIGINT, distance BIGINT, destination TEXT, PRIMARY KEY (origin, id))`); err != nil {
		return err
	}
	began := time.Now()
	if err := p.psql(ctx, `\copy flights FROM '`+csv+`' WITH (FORMAT csv)`); err != nil {
		return err
	}
	rate := float64(rows) / time.Since(began).Seconds()
	b.report("PostgreSQL COPY rows/s", rate, "%.0f", rate)
	b.ratio("keyed bulk load over COPY", "keyed bulk load rows/s", "PostgreSQL COPY rows/s", "at least 1")
	return nil
}

func (b *bench) writeCSV(path string) (int, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<16)
	rows := 0
	err = b.set.Flights(b.flights, func(f dataset.Flight) error {
		rows++
		_, err := fmt.Fprintf(w, "%s,%d,%s,%d,%d,%s\n", f.Origin, f.ID, f.DateText, f.Delay, f.Distance, f.Destination)
		return err
	})
	if err != nil {
		return rows, err
	}
	return rows, w.Flush()
}

// postgres is a server of its own on a socket in dir. It runs as the user postgres when the benchmark runs as root, which
// PostgreSQL refuses to be.
type postgres struct{ bin, dir string }

func (p postgres) start(ctx context.Context) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	for parent := p.dir; parent != filepath.Dir(parent) && os.Geteuid() == 0; parent = filepath.Dir(parent) {
		if info, err := os.Stat(parent); err == nil && info.Mode()&0o001 == 0 {
			_ = os.Chmod(parent, info.Mode()|0o011) // the temp folder is ours alone otherwise
		}
	}
	if u, err := user.Lookup("postgres"); err == nil && os.Geteuid() == 0 {
		uid, gid := number(u.Uid), number(u.Gid)
		if err := os.Chown(p.dir, uid, gid); err != nil {
			return err
		}
	}
	if err := p.run(ctx, "initdb", "-D", filepath.Join(p.dir, "data"), "-A", "trust", "-U", "postgres"); err != nil {
		return err
	}
	return p.run(ctx, "pg_ctl", "-D", filepath.Join(p.dir, "data"), "-w", "-l", filepath.Join(p.dir, "log"),
		"-o", "-c listen_addresses='' -c unix_socket_directories="+p.dir, "start")
}

func (p postgres) stop() {
	_ = p.run(context.Background(), "pg_ctl", "-D", filepath.Join(p.dir, "data"), "-m", "immediate", "stop")
}

func (p postgres) psql(ctx context.Context, sql string) error {
	return p.run(ctx, "psql", "-h", p.dir, "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql)
}

func (p postgres) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
	cmd.Dir = "/"
	if u, err := user.Lookup("postgres"); err == nil && os.Geteuid() == 0 && name != "psql" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(number(u.Uid)), Gid: uint32(number(u.Gid))}}
	}
	if name == "pg_ctl" {
		return cmd.Run() // the server keeps its output open
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

func number(s string) int {
	n, _ := strconv.Atoi(s) // an id of the password file
	return n
}
