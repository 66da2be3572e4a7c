package quantize

import (
	"context"
	"math"
	"testing"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/safetensors"
)

func values(t *testing.T, f *safetensors.File, name string) []float32 {
	t.Helper()
	x, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	v, err := x.Float32()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// golden returns the reference problem: a matrix of [64,128] and the second moment of its inputs.
func golden(t *testing.T) (*Problem, *safetensors.File) {
	t.Helper()
	in, err := safetensors.Open(tiny.Shared(t, "golden", "quantize", "inputs.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := safetensors.Open(tiny.Shared(t, "golden", "quantize", "results.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	h := values(t, in, "H_f32")
	point := &calib.Point{Width: 128, Rows: 512, Hessian: make([]float64, len(h)), SumSq: make([]float64, 128)}
	for i, v := range h {
		point.Hessian[i] = float64(v) / 2
	}
	for j := range 128 {
		point.SumSq[j] = point.Hessian[j*129]
	}
	return &Problem{Name: "W", W: values(t, in, "W"), Rows: 64, Cols: 128, Inputs: point}, out
}

// TestGoldenGPTQ expects the codes of the reference implementation.
func TestGoldenGPTQ(t *testing.T) {
	p, want := golden(t)
	for _, c := range []struct {
		name, format string
		bits         int
		a            GPTQ
	}{
		{"gptq_4bit_asym_g32", "uint4g32", 4, GPTQ{BlockSize: 128}},
		{"gptq_4bit_asym_g32_actorder", "uint4g32", 4, GPTQ{BlockSize: 128, ActOrder: "group"}},
		{"gptq_4bit_asym_g32_actorder_static", "uint4g32", 4, GPTQ{BlockSize: 128, ActOrder: "static"}},
		{"gptq_4bit_asym_g32_blocksize32", "uint4g32", 4, GPTQ{}},
		{"gptq_4bit_asym_row", "uint4", 4, GPTQ{}},
		{"gptq_4bit_asym_row_blocksize32", "uint4", 4, GPTQ{BlockSize: 32}},
		{"gptq_4bit_sym_g32", "int4g32", 4, GPTQ{BlockSize: 128}},
		{"gptq_3bit_asym_g32", "uint8g32", 3, GPTQ{BlockSize: 128}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := codec.Lookup(c.format)
			if err != nil {
				t.Fatal(err)
			}
			q := *p.with(f)
			if c.bits == 3 {
				g, _ := gridOf(f)
				narrow := *g
				narrow.codes.Bits = 3
				gridCache.Store(f, &narrow)
				defer gridCache.Store(f, g)
			}
			c.a.DampeningFrac, c.a.values = 0.01, true
			s, note, err := c.a.solve(context.Background(), &q)
			if err != nil || s == nil || note != "" {
				t.Fatalf("%v %q", err, note)
			}
			scale := values(t, want, c.name+".scale")
			expect := values(t, want, c.name+".Wq")
			wrong := 0
			groups := len(scale) / p.Rows
			for r := range p.Rows {
				for i, col := range s.order {
					k := col * groups / p.Cols
					if c.a.ActOrder == "group" {
						k = i * groups / p.Cols
					}
					if math.Abs(float64(s.value[r*p.Cols+i]-expect[r*p.Cols+col])) > 0.01*float64(scale[r*groups+k]) {
						wrong++
					}
				}
			}
			if wrong > 0 {
				t.Errorf("%d of %d codes differ from the reference", wrong, len(expect))
			}
			if c.a.ActOrder == "group" {
				return
			}
			back := make([]float32, len(q.W))
			rb := len(s.data) / q.Rows
			for r := range q.Rows {
				f.Decode(back[r*q.Cols:(r+1)*q.Cols], s.data[r*rb:(r+1)*rb])
			}
			for i := range back {
				if math.Abs(float64(back[i]-expect[i])) > 1e-5 {
					t.Fatalf("encoded value %d is %v, want %v", i, back[i], expect[i])
				}
			}
		})
	}
}

// with returns the problem for a format.
func (p *Problem) with(c codec.Codec) *Problem {
	return &Problem{Name: p.Name, W: p.W, Rows: p.Rows, Cols: p.Cols, Codec: c, Inputs: p.Inputs}
}

// TestGoldenRTN expects the values of the reference.
func TestGoldenRTN(t *testing.T) {
	p, want := golden(t)
	for name, format := range map[string]string{"rtn_4bit_asym_g32": "uint4g32", "rtn_4bit_asym_row": "uint4", "rtn_4bit_sym_g32": "int4g32",
		"rtn_8bit_asym_row": "uint8"} {
		f, err := codec.Lookup(format)
		if err != nil {
			t.Fatal(err)
		}
		r, err := (&RTN{}).Solve(context.Background(), p.with(f))
		if err != nil {
			t.Fatal(err)
		}
		expect := values(t, want, name+".Wq")
		got := make([]float32, p.Cols)
		rb := len(r.Data) / p.Rows
		for row := range p.Rows {
			f.Decode(got, r.Data[row*rb:(row+1)*rb])
			for j, v := range got {
				if math.Abs(float64(v-expect[row*p.Cols+j])) > 1e-5 {
					t.Fatalf("%s: value (%d,%d) is %v, want %v", name, row, j, v, expect[row*p.Cols+j])
				}
			}
		}
	}
}

// TestFormats solves the reference problem in every format: error feedback must beat rounding to nearest, and the error
// that is reported must be that of the bytes.
func TestFormats(t *testing.T) {
	p, _ := golden(t)
	for _, name := range []string{"int4g32", "int4g128", "uint4g32", "uint4g64", "int8g32", "int4", "q4_0", "q5_0", "q8_0", "iq4_nl", "mxfp4"} {
		f, err := codec.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		q := p.with(f)
		rtn, err := (&RTN{}).Solve(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := New("gptq")
		gptq, err := a.Solve(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: relative error %.3g by rounding, %.3g with feedback", name, rtn.Error, gptq.Error)
		if !(gptq.Error < 0.6*rtn.Error) {
			t.Errorf("%s: error %v with feedback, %v by rounding", name, gptq.Error, rtn.Error)
		}
		if want := 988.4 / sumOutputs(p); name == "uint4g32" && math.Abs(rtn.Error-want) > 1e-3*want {
			t.Errorf("%s: reported error %v, the reference measured %v", name, rtn.Error, want)
		}
	}
}

// sumOutputs returns |WX|² under the reference's factor 1.
func sumOutputs(p *Problem) float64 {
	var s float64
	for r := range p.Rows {
		for i := range p.Cols {
			for j := range p.Cols {
				s += float64(p.W[r*p.Cols+i]) * p.Inputs.Hessian[i*p.Cols+j] * float64(p.W[r*p.Cols+j])
			}
		}
	}
	return s
}
