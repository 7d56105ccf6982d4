// Package cluster runs the servers of a chaos run: real processes, each on a host of its own and on a disk of its own that can fail.
package cluster
