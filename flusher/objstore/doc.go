// Package objstore keeps data files as immutable objects named by slash-separated paths. Dir keeps them in a folder.
package objstore
