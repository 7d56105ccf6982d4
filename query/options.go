package query

import (
	"strconv"
	"strings"
	"time"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/internal/size"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/parse"
)

// setOption applies one option of WITH (...) to a definition.
func setOption(def *materializer.Table, o parse.Option) (err error) {
	switch o.Name {
	case "type":
		def.Kind = materializer.TableKind(strings.ToLower(o.Value))
	case "partitions":
		if def.Partitions, err = strconv.Atoi(o.Value); err != nil || def.Partitions < 1 {
			return invalidOption(o, "a number of at least 1")
		}
	case "partition_by":
		for part := range strings.SplitSeq(o.Value, ",") {
			def.Options.PartitionBy = append(def.Options.PartitionBy, strings.TrimSpace(part))
		}
	case "sharding":
		def.Options.Sharding = o.Value
	case "ttl":
		def.Options.TTL, err = duration(o)
	case "retention":
		if strings.EqualFold(o.Value, unlimited) {
			def.Options.Retention = materializer.Unlimited
			break
		}
		def.Options.Retention, err = duration(o)
	case "retention_bytes":
		def.Options.RetentionBytes, err = bytes(o)
	case "flush_rows":
		if def.Options.FlushRows, err = strconv.ParseInt(o.Value, 10, 64); err != nil {
			return invalidOption(o, "a number")
		}
	default:
		return problem.New(problem.InvalidDefinition, "unknown table option %q", o.Name).
			WithHint("the options are type, partitions, partition_by, sharding, ttl, retention, retention_bytes and flush_rows")
	}
	return err
}

func invalidOption(o parse.Option, want string) *problem.Error {
	return problem.New(problem.InvalidDefinition, "option %s = %q is not %s", o.Name, o.Value, want)
}

// unlimited is the value of retention and retention_bytes that keeps everything, whatever the server's default.
const unlimited = "unlimited"

// bytes reads 1000000 (bytes), '10GB', '64 MiB', 'unlimited'.
func bytes(o parse.Option) (int64, error) {
	if strings.EqualFold(o.Value, unlimited) {
		return materializer.Unlimited, nil
	}
	n, err := size.Parse(o.Value)
	if err != nil {
		return 0, invalidOption(o, "a size").WithHint("write '10GB', '512MiB', a number of bytes or 'unlimited'")
	}
	return int64(n), nil
}

// duration reads 90 (seconds), '36h', '7 days'.
func duration(o parse.Option) (time.Duration, error) {
	if d, err := time.ParseDuration(o.Value); err == nil {
		return d, nil
	}
	fields := strings.Fields(o.Value)
	if len(fields) == 1 {
		number := strings.TrimRight(fields[0], "abcdefghijklmnopqrstuvwxyz")
		fields = []string{number, strings.TrimPrefix(fields[0], number)}
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	unit := unitOf(strings.TrimSuffix(strings.ToLower(fields[len(fields)-1]), "s"))
	if err != nil || len(fields) != 2 || unit == 0 || n > int64(1<<62)/int64(unit) {
		return 0, invalidOption(o, "a duration").WithHint("write '36h', '7 days' or a number of seconds")
	}
	return time.Duration(n) * unit, nil
}

func unitOf(name string) time.Duration {
	switch name {
	case "", "second", "sec":
		return time.Second
	case "minute", "min":
		return time.Minute
	case "hour", "h":
		return time.Hour
	case "day", "d":
		return 24 * time.Hour
	case "week", "w":
		return 7 * 24 * time.Hour
	}
	return 0
}
