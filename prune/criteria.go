package prune

import (
	"sort"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/rng"
)

// A criterion scores the units of an axis; those with the largest scores stay.

// unitScores is what a criterion may look at: the matrix that reads the units, and what its input was like.
type unitScores struct {
	units   int
	block   int       // columns of each unit
	weights []float32 // [rows, units*block]: the matrix behind the units
	rows    int
	point   *calib.Point // statistics of its input
	seed    uint64
	stream  uint64
}

var criteria = map[string]func(u *unitScores) []float64{
	// activation: the energy that a unit sends on, sum over its columns of mean x² · |w|². It is the error that taking the
	// unit away makes, were the units independent (Minitron's activation importance, weighted as Wanda weights it).
	"activation": func(u *unitScores) []float64 {
		return u.sum(func(col int) float64 { return u.point.SumSq[col] / float64(u.point.Rows) })
	},
	// magnitude: the squared norm of the unit's columns.
	"magnitude": func(u *unitScores) []float64 { return u.sum(func(int) float64 { return 1 }) },
	// random: for comparison.
	"random": func(u *unitScores) []float64 {
		out := make([]float64, u.units)
		s := rng.New(u.seed, u.stream)
		for i := range out {
			out[i] = s.Float64()
		}
		return out
	},
}

// sum adds weight(col) * |column|² over the columns of each unit.
func (u *unitScores) sum(weight func(col int) float64) []float64 {
	cols := u.units * u.block
	norm := make([]float64, cols)
	for r := range u.rows {
		for c, v := range u.weights[r*cols : (r+1)*cols] {
			norm[c] += float64(v) * float64(v)
		}
	}
	out := make([]float64, u.units)
	for c, n := range norm {
		out[c/u.block] += n * weight(c)
	}
	return out
}

// Criteria returns the names of the criteria, sorted.
func Criteria() []string {
	var names []string
	for n := range criteria {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
