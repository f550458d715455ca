"""llama.cpp as an engine: the quantised model of a GGUF file, with a control vector."""
