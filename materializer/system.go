package materializer

import (
	"encoding/json"
	"fmt"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/query/expr"
)

// SystemNamespace holds the tables that Kalam keeps its own state in. DefaultNamespace is where names without a schema live. Both always exist.
const (
	SystemNamespace  = "system"
	DefaultNamespace = "default"
)

// FirstUserTable is the lowest id of a table that a user has made.
const FirstUserTable log.TableID = 1000

// The system tables. Each has one partition; their schemas are compiled in (see systemTables). The catalog is the fold of the first three.
const (
	SystemNamespaces     log.TableID = 1
	SystemTables         log.TableID = 2
	SystemSchemaHistory  log.TableID = 3
	SystemJobs           log.TableID = 4
	SystemLiveQueries    log.TableID = 5
	SystemConsumerGroups log.TableID = 6
	SystemDataFiles      log.TableID = 7
	// SystemFlushed says up to where each partition's changes are in Parquet.
	SystemFlushed log.TableID = 8
	// SystemSuperseded holds bitmaps of the flushed offsets that later flushed changes have replaced or deleted: bit offset&(1<<20-1) of
	// chunk offset>>20.
	SystemSuperseded log.TableID = 9
	// SystemLogStarts says where the log of each partition begins that retention has touched: see LogStart.
	SystemLogStarts log.TableID = 10
	// SystemNodes is the cluster's address book.
	SystemNodes log.TableID = 11
	// SystemCluster holds what the nodes have agreed upon beside their tables, by name.
	SystemCluster log.TableID = 12
)

// ClusterProperty is the row of system.cluster that holds the cluster's id.
const ClusterProperty = "cluster_id"

// KeepsLog reports whether all changes of a table stay, in the log or in data files: those of users' tables and of the catalog do. The other system tables
// change all the time and are not flushed: retention takes their old changes away, and their rows are in the state alone.
func KeepsLog(t log.TableID) bool { return t >= FirstUserTable || isCatalog(t) }

// systemTables returns the definitions of the system tables, prepared, in the order of their ids.
func systemTables() []*Table {
	text, bigint := expr.Type{Kind: expr.Text}, expr.Type{Kind: expr.BigInt}
	integer, instant := expr.Type{Kind: expr.Integer}, expr.Type{Kind: expr.TimestampTZ}
	blob, jsn := expr.Type{Kind: expr.Blob}, expr.Type{Kind: expr.JSON}
	double := expr.Type{Kind: expr.Double}
	return []*Table{
		systemTable(SystemNamespaces, "namespaces", 1, col("name", text), col("created", instant)),
		systemTable(SystemTables, "tables", 2, col("namespace", text), col("name", text), col("id", bigint), col("kind", text),
			col("partitions", integer), col("definition", jsn), col("created", instant)),
		systemTable(SystemSchemaHistory, "schema_history", 2, col("table_id", bigint), col("version", integer),
			col("columns", jsn), col("created", instant)),
		systemTable(SystemJobs, "jobs", 1, col("id", text), col("kind", text), col("namespace", text), col("table", text),
			col("state", text), col("progress", double), col("rows", bigint), col("location", text), col("error", text),
			col("created", instant), col("started", instant), col("finished", instant), col("node", bigint)),
		systemTable(SystemLiveQueries, "live_queries", 1, col("id", text), col("sql", text), col("options", jsn), col("owner", text),
			col("position", text), col("created", instant), col("delivered", bigint)),
		systemTable(SystemConsumerGroups, "consumer_groups", 3, col("group_id", text), col("topic", text), col("partition", integer),
			col("committed_offset", bigint), col("leader_epoch", integer), col("metadata", text), col("updated", instant)),
		systemTable(SystemDataFiles, "data_files", 2, col("table_id", bigint), col("path", text), col("shard", text),
			col("strategy", text), col("flush", bigint), col("schema_version", integer), col("rows", bigint), col("bytes", bigint),
			col("checksum", blob), col("offsets", jsn), col("created", instant)),
		systemTable(SystemFlushed, "flushed", 2, col("table_id", bigint), col("partition", integer), col("end_offset", bigint),
			col("flush", bigint)),
		systemTable(SystemSuperseded, "superseded", 3, col("table_id", bigint), col("partition", integer), col("chunk", bigint),
			col("bitmap", blob)),
		systemTable(SystemLogStarts, "log_starts", 2, col("table_id", bigint), col("partition", integer), col("start_offset", bigint),
			col("raft_index", bigint), col("expired_offset", bigint), col("updated", instant)),
		systemTable(SystemNodes, "nodes", 1, col("node_id", bigint), col("replica_id", bigint), col("state", text), col("target", text),
			col("raft", text), col("http", text), col("kafka", text), col("version", text), col("started", instant)),
		systemTable(SystemCluster, "cluster", 1, col("name", text), col("value", text)),
	}
}

func col(name string, t expr.Type) Column { return Column{Name: name, Type: t} }

// systemTable makes a definition whose first key columns are the primary key.
func systemTable(id log.TableID, name string, key int, columns ...Column) *Table {
	s := &Schema{Version: 1, Columns: columns}
	for i := range columns {
		columns[i].ID = uint32(i + 1)
		if i < key {
			s.Key = append(s.Key, i)
			columns[i].NotNull = true
		}
	}
	t := &Table{ID: id, Namespace: SystemNamespace, Name: name, Kind: Shared, Partitions: 1, Versions: []*Schema{s}}
	t.prepare()
	return t
}

// encodeDefinition returns a row of system.tables.
func encodeDefinition(t *Table) ([]expr.Value, error) {
	definition, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encode definition of %s: %w", t.QualifiedName(), err)
	}
	return []expr.Value{
		expr.TextOf(t.Namespace), expr.TextOf(t.Name), expr.IntOf(expr.BigInt, int64(t.ID)), expr.TextOf(string(t.Kind)),
		expr.IntOf(expr.Integer, int64(t.Partitions)), expr.JSONOf(string(definition)), expr.IntOf(expr.TimestampTZ, t.Created),
	}, nil
}

// decodeDefinition reads what encodeDefinition wrote; system is the table system.tables.
func decodeDefinition(system *Table, raw []byte) (*Table, error) {
	row, err := system.DecodeRow(raw)
	if err != nil {
		return nil, err
	}
	v := row.Column(5)
	if v.Kind() != expr.JSON {
		return nil, fmt.Errorf("row of system.tables without definition: %w", ErrDamaged)
	}
	t := new(Table)
	if err := json.Unmarshal([]byte(v.Str()), t); err != nil {
		return nil, fmt.Errorf("definition in system.tables: %w", err)
	}
	if t.Namespace != row.Column(0).Str() || t.Name != row.Column(1).Str() || int64(t.ID) != row.Column(2).Int() {
		return nil, fmt.Errorf("definition in system.tables belongs to another row: %w", ErrDamaged)
	}
	return t, nil
}

// schemaHistoryRow returns a row of system.schema_history.
func schemaHistoryRow(id log.TableID, s *Schema, now int64) ([]expr.Value, error) {
	columns, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode schema version %d: %w", s.Version, err)
	}
	return []expr.Value{
		expr.IntOf(expr.BigInt, int64(id)), expr.IntOf(expr.Integer, int64(s.Version)),
		expr.JSONOf(string(columns)), expr.IntOf(expr.TimestampTZ, now),
	}, nil
}
