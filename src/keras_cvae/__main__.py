"""`python -m keras_cvae` is the command `cvae`."""

from keras_cvae.cli.main import main

main()
