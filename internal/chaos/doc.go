// Package chaos runs Kalam's servers, breaks things under them one at a time while clients of every kind work, and judges what the
// clients were told. Beneath it: network and cluster make hosts, disks and processes that fail; load is the clients; history is what they
// did and saw; check are the judges, pure functions over it.
package chaos
