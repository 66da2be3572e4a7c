package cpu

import (
	"fmt"
	"slices"

	"github.com/parelm/pare/internal/par"
)

// Several devices. One program runs on all of them, each with arrays of its own (SPMD), and the devices meet where a collective
// asks for the values of all. These devices are parts of one memory: they stand for the machines of a cluster, so that what is
// trained on many can be tried, and tested, on one.
//
// The devices take turns: each runs up to the next collective, on all threads, then the collective is computed. So the order of
// sums depends on nothing but the numbers of the devices, and a run with n devices gives the same bits on any number of threads.

// across says how values of several devices become one.
type across struct {
	fn     fn
	groups [][]int // each device is in one of them
}

// String is how the collective is called in profiles.
func (a *across) String() string { return "all-reduce " + fnNames[a.fn] }

// AllReduce combines the values that the devices of each group have for the arrays: every device gets the "add", "mul", "max" or
// "min" of its group, in the order in which the group lists them. Groups list devices from 0 on, each device once.
func (p *Program) AllReduce(kind string, xs []*Node, groups [][]int) []*Node {
	f := fnByName[kind]
	check(f == fnAdd || f == fnMul || f == fnMax || f == fnMin, "all-reduce by %q", kind)
	check(len(xs) > 0, "all-reduce of no array")
	for _, x := range xs {
		check(x.shape.DType != Bool, "all-reduce of %s", x.shape)
	}
	check(isPartition(groups), "all-reduce over groups %v, each device must be in one", groups)
	return p.results(p.add(&Node{op: opCollective, in: xs, outs: shapesOf(xs), attr: &across{f, groups}}))
}

// isPartition reports whether the numbers from 0 on are each in one group.
func isPartition(groups [][]int) bool {
	all := slices.Concat(groups...)
	slices.Sort(all)
	for i, d := range all {
		if d != i {
			return false
		}
	}
	return len(all) > 0
}

// devices returns how many devices take part.
func (a *across) devices() (n int) {
	for _, g := range a.groups {
		n += len(g)
	}
	return n
}

// piecesTogether is how many values a thread combines at once.
const piecesTogether = 1 << 14

// meet combines one array of all devices. Output i may be the memory of input i.
func (a *across) meet(shape Shape, out, in []any) {
	n := &Node{op: opBinary, fn: a.fn}
	for _, g := range a.groups {
		par.For(shape.Len(), piecesTogether, func(lo, hi int) {
			sum := sliceData(out[g[0]], lo, hi)
			first := sliceData(in[g[0]], lo, hi)
			if s, ok := sum.([]float32); ok {
				copyUnlessSame(s, first.([]float32))
			} else {
				copyData(sum, first)
			}
			b := &Buffer{Shape{shape.DType, []int{hi - lo}}, sum}
			for _, d := range g[1:] {
				x := sliceData(in[d], lo, hi)
				if s, ok := sum.([]float32); ok && a.fn == fnAdd {
					addTo(s, x.([]float32))
					continue
				}
				elementwise(n, b, []*Buffer{b, {b.Shape, x}})
			}
			for _, d := range g[1:] {
				copyData(sliceData(out[d], lo, hi), sum)
			}
		})
	}
}

// emitCollective adds the step at which the devices meet.
func (c *compiler) emitCollective(n *Node) {
	a := n.attr.(*across)
	s := &step{key: 2 * n.id, name: a.String()}
	s.writes = c.outputsOf(n)
	for _, x := range n.in {
		s.reads = append(s.reads, c.dense(x, s.key-1))
	}
	for i, w := range s.writes {
		s.inPlace = append(s.inPlace, inPlace{w, s.reads[i]})
	}
	s.meet = func(runs []*run) {
		out, in := make([]any, len(runs)), make([]any, len(runs))
		for i := range s.writes {
			for d, r := range runs {
				out[d], in[d] = r.data(s.writes[i]), r.data(s.reads[i])
			}
			a.meet(n.outs[i], out, in)
		}
	}
	c.devices = max(c.devices, a.devices())
	c.steps = append(c.steps, s)
}

// checkDevices returns an error unless the program's collectives are among as many devices as it has arenas.
func (e *Exec) checkDevices() error {
	if e.devices > 0 && e.devices != len(e.work) {
		return fmt.Errorf("cpu: collectives of %d devices in a program that runs on %d", e.devices, len(e.work))
	}
	return nil
}
