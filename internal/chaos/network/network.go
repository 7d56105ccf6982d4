package network

import (
	"errors"
	"fmt"
	"strconv"
)

const (
	namesDir = "/run/netns"
	bridge   = "kalam0"
	subnet   = "10.77.0."
	// hubAddress is where this process sits on the bridge: it reaches every host, whatever is cut between them.
	hubAddress = subnet + "254"
	maxHosts   = 200
)

// Network is a bridge with hosts on it.
type Network struct {
	hosts []*Host
}

// New makes a network of n hosts, numbered from 1. The process must be Inside a sandbox and can make one network.
func New(n int) (*Network, error) {
	if !Inside() {
		return nil, errors.New("network: not inside a sandbox")
	}
	if n < 1 || n > maxHosts {
		return nil, fmt.Errorf("network: %d hosts", n)
	}
	if err := furnish(); err != nil {
		return nil, err
	}
	for _, command := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "link", "add", bridge, "type", "bridge"},
		{"ip", "addr", "add", hubAddress + "/24", "dev", bridge},
		{"ip", "link", "set", bridge, "up"},
	} {
		if err := run(nil, "", command...); err != nil {
			return nil, err
		}
	}
	w := &Network{}
	for i := 1; i <= n; i++ {
		h, err := newHost(i)
		if err != nil {
			return nil, err
		}
		w.hosts = append(w.hosts, h)
	}
	return w, nil
}

// Host returns the host of a number, from 1.
func (w *Network) Host(number int) *Host { return w.hosts[number-1] }

// Heal ends every fault of the network.
func (w *Network) Heal() error {
	var errs []error
	for _, h := range w.hosts {
		errs = append(errs, h.Heal())
	}
	return errors.Join(errs...)
}

// Isolate cuts the hosts of a group off from all others, both ways. This process still reaches them.
func (w *Network) Isolate(group ...int) error {
	inside := map[int]bool{}
	for _, n := range group {
		inside[n] = true
	}
	var errs []error
	for _, n := range group {
		for _, other := range w.hosts {
			if !inside[other.number] {
				errs = append(errs, w.CutOneWay(other.number, n), w.CutOneWay(n, other.number))
			}
		}
	}
	return errors.Join(errs...)
}

// CutOneWay drops what goes from one host to another; what comes back passes.
func (w *Network) CutOneWay(from, to int) error {
	return w.Host(to).filter("ip saddr " + w.Host(from).Address + " drop")
}

// Lose drops about percent, 1 to 100, of all packets between hosts, in both directions.
func (w *Network) Lose(percent int) error {
	return w.between("numgen random mod 100 <= " + strconv.Itoa(percent-1) + " drop")
}

// Reset answers about percent, 1 to 100, of all TCP packets between hosts with a reset, which breaks their connections.
func (w *Network) Reset(percent int) error {
	return w.between("meta l4proto tcp numgen random mod 100 <= " + strconv.Itoa(percent-1) + " reject with tcp reset")
}

// Slow limits what each host takes from the others to so many kilobytes a second; what is beyond is dropped.
func (w *Network) Slow(kilobytes int) error {
	return w.between(fmt.Sprintf("limit rate over %d kbytes/second burst %d kbytes drop", kilobytes, kilobytes/4+1))
}

func (w *Network) between(action string) error {
	var errs []error
	for _, h := range w.hosts {
		errs = append(errs, h.filter("ip saddr != "+hubAddress+" "+action))
	}
	return errors.Join(errs...)
}
