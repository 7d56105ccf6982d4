// Package archtest holds the architecture to its rule: imports point down (design section 5). Its test fails the build of whoever
// breaks it, with the file and the import.
package archtest
