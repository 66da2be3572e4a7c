package gen

// files lists what is generated.
func files() []*file {
	return []*file{gemmFile(), gemmStripFile(), floatFile(), convertFile(), scalesFile(), actsFile(), quantFile(), tileFile(), sectionFile(), unitFile(), matMulFile(), groupFile(), amxFile(), halfFile(), brainFile(), amxBrainFile(), brainPanelsFile(),
		pairsFile(), widePairsFile(), softmaxFile(), peakFile(), encodeFile(), rowPackFile(), doubleFile()}
}
