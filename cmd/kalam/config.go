package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"kalamlog.dev/kalam/internal/config"
)

func configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print a configuration file with every key, its default and meaning",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprint(cmd.OutOrStdout(), config.Template())
		},
	}
}

// settingFlags are the flags that set keys of the configuration, by flag.
func settingFlags() map[string]string {
	return map[string]string{
		"data": "server.data", "http": "server.http", "kafka": "server.kafka", "insecure": "server.insecure", "log-level": "log.level",
		"node-id": "cluster.node_id",
	}
}

// loadConfig reads the configuration as the flags of cmd, the environment and the file say.
func loadConfig(cmd *cobra.Command) (config.Config, error) {
	s := config.Sources{Env: os.Environ(), Flags: make(map[string]any)}
	s.File = os.Getenv(config.EnvConfig)
	if f := cmd.Flags().Lookup("config"); f != nil && f.Changed {
		s.File = f.Value.String()
	}
	for flag, key := range settingFlags() {
		if f := cmd.Flags().Lookup(flag); f != nil && f.Changed {
			s.Flags[key] = f.Value.String()
		}
	}
	c, err := config.Load(s)
	if err != nil {
		return c, fmt.Errorf("the configuration cannot be used:\n%w", err)
	}
	return c, nil
}

// addConfigFlags gives cmd the flags that say where the configuration and the data are.
func addConfigFlags(cmd *cobra.Command) {
	d := config.Default()
	cmd.Flags().String("config", "", "TOML file with settings (or "+config.EnvConfig+"); see kalam config")
	cmd.Flags().String("data", d.Server.Data, "data directory, made if it does not exist")
	cmd.Flags().String("log-level", d.Log.Level, "debug, info, warn or error")
}
