"""The boundary codec, compiler's side: what each way of sending a tensor costs and damages, measured."""
