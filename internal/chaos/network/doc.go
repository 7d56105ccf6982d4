// Package network gives each server of a test a host of its own: a network namespace with an address, joined to the others by a
// bridge, with packet filter rules that cut, lose and reset. Everything lives in a sandbox of namespaces that belongs to the process:
// network, mounts and process ids. When the process ends, however it ends, the kernel removes all of it; nothing of it is ever visible
// outside.
//
// It needs root, iproute2 and nftables.
package network
