"""Person search over HTTP: an API, a page, metrics (`mgts-trt serve`)."""
