package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"kalamlog.dev/kalam/internal/size"
)

// Template returns a configuration file that names every key with its default and meaning, all commented out.
func Template() string {
	var b strings.Builder
	section := ""
	for _, k := range Keys() {
		s, name, _ := strings.Cut(k.Name, ".")
		if s != section {
			if section != "" {
				b.WriteByte('\n')
			}
			section = s
			fmt.Fprintf(&b, "[%s]\n", section)
		}
		fmt.Fprintf(&b, "# %s\n# %s = %s\n", k.Doc, name, k.tomlDefault())
	}
	return b.String()
}

func (k Key) tomlDefault() string {
	switch v := k.def.(type) {
	case []string:
		return "[]"
	case size.Bytes:
		if v == 0 {
			return "0"
		}
		return strconv.Quote(v.String())
	case time.Duration:
		return strconv.Quote(shortDuration(v))
	}
	if k.typ.Kind() == reflect.String {
		return strconv.Quote(k.Default())
	}
	return k.Default()
}

// shortDuration drops the zero units that Duration.String ends with.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
