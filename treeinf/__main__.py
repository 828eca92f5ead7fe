"""`python -m treeinf`: the command line, as `treeinf` runs it."""

if __name__ == "__main__":
    from treeinf.cli.main import run

    run()
