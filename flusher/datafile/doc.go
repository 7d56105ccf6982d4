// Package datafile reads and writes the Parquet files that hold flushed changes, one row for each change.
//
// A file's columns are the table's, in the table's order, by name and with the column's id as Parquet field id, then
// the system columns:
//
//	_partition INTEGER, _offset BIGINT, _timestamp TIMESTAMPTZ, _op TEXT (insert, update, delete),
//	_previous BIGINT (offset of the key's previous change, or NULL)
//
// Rows are in the order (_partition, _offset). A delete carries its key columns, the rest NULL. SQL types map to
// Parquet's so that any reader sees the exact value:
//
//	BOOLEAN       BOOLEAN                     DATE         INT32 (DATE)
//	SMALLINT      INT32 (INT 16)              TIME         INT64 (TIME micros, local)
//	INTEGER       INT32 (INT 32)              TIMESTAMP    INT64 (TIMESTAMP micros, local)
//	BIGINT        INT64 (INT 64)              TIMESTAMPTZ  INT64 (TIMESTAMP micros, UTC)
//	REAL          FLOAT                       UUID         FIXED_LEN_BYTE_ARRAY(16) (UUID)
//	DOUBLE        DOUBLE                      JSON         BYTE_ARRAY (JSON)
//	DECIMAL(p,s)  INT32 up to 9 digits, INT64 up to 18, else the shortest FIXED_LEN_BYTE_ARRAY (DECIMAL)
//	TEXT          BYTE_ARRAY (STRING)         T[]          LIST of optional T
//	BLOB          BYTE_ARRAY
package datafile
