// Package bbolt keeps state in one bbolt file, a bucket for each partition. It is for nodes that want one file, few moving parts and little memory.
package bbolt
