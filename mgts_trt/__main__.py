"""`python -m mgts_trt`: the `mgts-trt` command."""

if __name__ == "__main__":
    from mgts_trt.cli.app import main

    main()
