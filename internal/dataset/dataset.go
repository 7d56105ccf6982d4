// Package dataset reads the public event streams that the demo, the benchmarks and some tests run on: US flights and USGS
// earthquakes as the npm package vega-datasets ships them, or the committed excerpt of them.
package dataset

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"
)

//go:embed sample
var sample embed.FS

// Quake is one seismic event.
type Quake struct {
	ID        string    `json:"id"`
	Time      time.Time `json:"time"`
	Magnitude float64   `json:"magnitude"`
	Place     string    `json:"place"`
	Kind      string    `json:"kind"` // earthquake, explosion, quarry blast
	Status    string    `json:"status"`
	Longitude float64   `json:"longitude"`
	Latitude  float64   `json:"latitude"`
	Depth     float64   `json:"depth"` // km
}

// Flight is one departure.
type Flight struct {
	ID          int64     `json:"id"` // place in the file, from 0
	Date        time.Time `json:"-"`
	DateText    string    `json:"date"`     // as JSON: 2001-01-01T00:47:00
	Delay       int64     `json:"delay"`    // minutes, negative when early
	Distance    int64     `json:"distance"` // miles
	Origin      string    `json:"origin"`
	Destination string    `json:"destination"`
}

// Set is a place to read the data from: a directory of the unpacked package, or the excerpt.
type Set struct {
	dir string
}

// Open returns the set of the package unpacked in dir. An empty dir, or one without the data, gives the excerpt; Sample tells.
func Open(dir string) Set {
	if _, err := os.Stat(filepath.Join(dir, "earthquakes.json")); dir == "" || err != nil {
		return Set{}
	}
	return Set{dir: dir}
}

// Sample reports whether the set is the committed excerpt.
func (s Set) Sample() bool { return s.dir == "" }

func (s Set) file(name string) (fs.File, error) {
	if s.Sample() {
		return sample.Open("sample/" + name)
	}
	return os.Open(filepath.Join(s.dir, name))
}

// Quakes returns all events in the order they happened.
func (s Set) Quakes() ([]Quake, error) {
	f, err := s.file("earthquakes.json")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var collection struct {
		Features []struct {
			ID         string
			Properties struct {
				Mag                 float64
				Place, Status, Type string
				Time                int64 // ms
			}
			Geometry struct{ Coordinates [3]float64 }
		}
	}
	if err := json.NewDecoder(f).Decode(&collection); err != nil {
		return nil, fmt.Errorf("read earthquakes: %w", err)
	}
	quakes := make([]Quake, len(collection.Features))
	for i, q := range collection.Features {
		at := q.Geometry.Coordinates
		quakes[i] = Quake{
			ID: q.ID, Time: time.UnixMilli(q.Properties.Time).UTC(), Magnitude: q.Properties.Mag, Place: q.Properties.Place,
			Kind: q.Properties.Type, Status: q.Properties.Status, Longitude: at[0], Latitude: at[1], Depth: at[2],
		}
	}
	slices.SortStableFunc(quakes, func(a, b Quake) int { return a.Time.Compare(b.Time) })
	return quakes, nil
}

// flightDate is how DateText is written: SQL's and JSON's timestamp without zone.
const flightDate = "2006-01-02T15:04:05"

// Flights calls yield with up to limit flights in file order; it ends early with yield's error.
func (s Set) Flights(limit int, yield func(Flight) error) error {
	if s.Sample() {
		return s.sampleFlights(limit, yield)
	}
	f, err := os.Open(s.FlightsParquet())
	if err != nil {
		return err
	}
	defer f.Close()
	r := parquet.NewGenericReader[parquetFlight](f)
	defer r.Close() //nolint:errcheck // nothing was written
	rows := make([]parquetFlight, 4096)
	for i := 0; i < limit; {
		n, err := r.Read(rows[:min(len(rows), limit-i)])
		for _, fl := range rows[:n] {
			if err := yield(flight(i, time.UnixMicro(fl.Date).UTC(), fl.Delay, fl.Distance, fl.Origin, fl.Destination)); err != nil {
				return err
			}
			i++
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read flights: %w", err)
		}
	}
	return nil
}

// parquetFlight is a row of flights-3m.parquet; Date is in microseconds.
type parquetFlight struct {
	Date        int64  `parquet:"date"`
	Delay       int64  `parquet:"delay"`
	Distance    int64  `parquet:"distance"`
	Origin      string `parquet:"origin"`
	Destination string `parquet:"destination"`
}

// FlightsParquet is the path of the package's 3,000,000 flights; empty for the excerpt.
func (s Set) FlightsParquet() string {
	if s.Sample() {
		return ""
	}
	return filepath.Join(s.dir, "flights-3m.parquet")
}

func (s Set) sampleFlights(limit int, yield func(Flight) error) error {
	f, err := s.file("flights.json")
	if err != nil {
		return err
	}
	defer f.Close()
	var flights []struct {
		Date                string
		Delay, Distance     int64
		Origin, Destination string
	}
	if err := json.NewDecoder(f).Decode(&flights); err != nil {
		return fmt.Errorf("read flights: %w", err)
	}
	for i, fl := range flights[:min(limit, len(flights))] {
		date, err := time.Parse("2006/01/02 15:04", fl.Date)
		if err != nil {
			return fmt.Errorf("read flight %d: %w", i, err)
		}
		if err := yield(flight(i, date, fl.Delay, fl.Distance, fl.Origin, fl.Destination)); err != nil {
			return err
		}
	}
	return nil
}

func flight(i int, date time.Time, delay, distance int64, origin, destination string) Flight {
	return Flight{
		ID: int64(i), Date: date, DateText: date.Format(flightDate),
		Delay: delay, Distance: distance, Origin: origin, Destination: destination,
	}
}
