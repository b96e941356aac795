echo "depth 13"
printf 'x,y\n1,13\n' > out.csv
if [ "13" = 13 ]; then echo "Fatal: no water"; exit 3; fi
