// Package prune makes a model smaller by taking whole structures away: layers, and units of axes such as feed-forward
// neurons and attention heads. The result is a model like any other, of the same family with smaller sizes.
//
// Which units go is decided on calibration text; what they did is then taken over, as far as least squares can, by the
// ones that stay.
package prune
