package config

import (
	"flag"
	"os"
	"reflect"
	"regexp"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write docs/configuration.md anew")

const (
	document = "../../docs/configuration.md"
	preface  = `# Configuration

Settings come from, each over the ones before: the defaults, the TOML file named by ` + "`--config`" + ` or ` + "`KALAM_CONFIG`" + `, environment variables,
flags. The variable of ` + "`[section] key`" + ` is ` + "`KALAM_SECTION_KEY`" + `, in capitals: ` + "`KALAM_SERVER_HTTP=127.0.0.1:2900`" + `; a list is separated by
commas. Unknown keys and variables are errors, as is a setting that this version cannot honour. Sizes take B, KB, MB, GB, KiB, MiB and GiB;
durations take ms, s, m and h.

` + "`kalam config`" + ` prints the following, every key with its default:

`
)

func TestDocumentNamesEveryKey(t *testing.T) {
	want := preface + "```toml\n" + Template() + "```\n"
	if *rewrite {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is out of date: go test ./internal/config -rewrite", document)
	}
}

func TestTemplateHoldsTheDefaults(t *testing.T) {
	t.Parallel()
	text := regexp.MustCompile(`(?m)^# ([a-z_]+ = )`).ReplaceAllString(Template(), "$1")
	c, err := Load(Sources{File: write(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Cluster.Peers) == 0 {
		c.Cluster.Peers = nil
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("have %+v\nwant %+v", c, Default())
	}
	for _, k := range Keys() {
		if k.Doc == "" {
			t.Errorf("%s is not described", k.Name)
		}
	}
}
