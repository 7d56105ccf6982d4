// Package kafka is the Kafka protocol's door to Kalam, on a listener of its own. A table is a topic, in two forms: "namespace.table" carries each
// change's new row (null for a delete) and "namespace.table.changes" an envelope with the rows before and after. One record is one change, at the
// change's offset. The package decodes and encodes, keeps consumer groups and stores their offsets in system.consumer_groups; what a topic holds is
// read from the log. DESIGN.md has the map and the way to add an API key.
package kafka
