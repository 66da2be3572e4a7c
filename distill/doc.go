// Package distill trains models: a student that follows a teacher, or a text alone.
//
// Run draws the student's training graph from the same model.Graph that everything else reads, asks the teacher what it
// thinks of each batch, and makes a sum of losses small with AdamW. With no teacher and the cross-entropy as its one loss
// it is plain pre-training, or continued pre-training on text of one's own domain. Each loss is a file; see LossNames.
//
// The same student, teacher, text, settings and seed give the same weights, bit for bit, for any number of threads and
// however often the process was killed and went on from its checkpoints.
package distill
