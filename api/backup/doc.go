// Package backup copies a running node at one position, and makes new nodes of such copies. A Keeper lets clients fetch the parts of a backup from a
// node; Fetch is such a client and writes a backup directory; Verify checks one; Restore makes a data directory of one. DESIGN.md says why it is
// so, FORMAT.md what is in a backup directory.
package backup
