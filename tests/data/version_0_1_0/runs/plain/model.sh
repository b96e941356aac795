echo "depth 1"
printf 'x,y\n1,1\n' > out.csv
if [ "1" = 13 ]; then echo "Fatal: no water"; exit 3; fi
