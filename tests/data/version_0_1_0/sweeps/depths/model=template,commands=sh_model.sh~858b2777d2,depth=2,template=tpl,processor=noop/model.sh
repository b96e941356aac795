echo "depth 2"
printf 'x,y\n1,2\n' > out.csv
if [ "2" = 13 ]; then echo "Fatal: no water"; exit 3; fi
